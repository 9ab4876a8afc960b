"""A project folder as a user has it, with the driving demo cut down to seconds, and Snakemake run in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 900
# One line of `snakemake -n` per scheduled training: "Job 4: driving/stage2: trains 2 epochs".
_SCHEDULED = re.compile(r"^Job \d+: (\w+/\w+): ((?:trains|resumes|continues|refused).*)$", re.MULTILINE)
_NOT_TRAINED = ("trains nothing", "refused")

SECRET = "hf-token-of-the-demo-4711"

CONFIG: dict[str, Any] = {
    "runs": {
        "driving": {
            "trainer": {
                "kind": "mmcv",
                "root": "workflow/demo/driving",
                "nproc_per_node": 2,
                "device": "cpu",
                "env": {"OMP_NUM_THREADS": "1", "HF_TOKEN": SECRET},
            },
            "stages": {
                "stage1": {
                    "config": "./projects/configs/stage1_track_map/track_map.py",
                    "epochs": 2,
                    "promotion": {"target": "ckpts/track_map.pth"},
                },
                "stage2": {
                    "config": "./projects/configs/stage2_e2e/e2e.py",
                    "epochs": 2,
                    "init_from": "stage1",
                    "work_dir": "work_dirs/e2e",
                },
            },
        }
    },
}
for _stage in CONFIG["runs"]["driving"]["stages"].values():
    _stage["backends"] = ["gloo"]
    _stage["validate"] = False
    _stage["resources"] = {"runtime_min": 5}
    _stage["options"] = {"data.train.length": 48, "log_config.interval": 1, "data.workers_per_gpu": 1}

KEYPOINTS: dict[str, Any] = {
    "runs": {
        "keypoints": {
            "trainer": {
                "kind": "metriclogger",
                "root": "workflow/demo/keypoints",
                "entry": "./main.py",
                "nproc_per_node": 2,
                "device": "cpu",
                "env": {"OMP_NUM_THREADS": "1"},
            },
            "stages": {
                "pose": {
                    "config": "./main.py",
                    "epochs": 3,
                    "options": {"train_images": 192, "val_images": 16, "dec_layers": 2, "print_freq": 4},
                    "backends": ["gloo"],
                    "promotion": {"target": "ckpts/pose.pth"},
                    "resources": {"runtime_min": 5},
                }
            },
        }
    },
}


@dataclass(frozen=True)
class Project:
    """One project folder."""

    folder: Path

    def run(self, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return self._python("-m", *argv, env=env)

    def run_code(self, code: str) -> subprocess.CompletedProcess[str]:
        return self._python("-c", code)

    def _python(self, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *argv],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**os.environ, **(env or {})},
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("snakemake", "--cores", "2", *arguments)

    def trainrelay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("trainrelay", *arguments)

    def succeed(self, *arguments: str) -> str:
        """All that a Snakemake call printed; it must have ended 0."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def configure(self, change: Callable[[dict[str, Any]], object]) -> None:
        path = self.folder / "config.yaml"
        data = yaml.safe_load(path.read_text())
        change(data)
        path.write_text(yaml.safe_dump(data, sort_keys=False))

    def stage(self, name: str, run: str = "driving") -> Path:
        return self.folder / "runs" / run / name

    def attempts(self) -> dict[str, int]:
        """How many times each stage's trainer was started, in any folder of the stage."""
        folders = (self.folder / "runs").glob("*/*/attempts/*")
        counts: dict[str, int] = {}
        for folder in folders:
            name = folder.parts[-3]
            counts[name] = counts.get(name, 0) + 1
        return counts

    def scheduled(self, *arguments: str) -> dict[str, str]:
        """What `snakemake -n` prints of each training it schedules."""
        return dict(_SCHEDULED.findall(self.succeed("-n", *arguments)))

    def trained_by_snakemake(self) -> set[str]:
        """The stages whose trainer `snakemake -n` would start."""
        return {where for where, what in self.scheduled().items() if not what.startswith(_NOT_TRAINED)}

    def trained_by_plan(self) -> set[str]:
        """The stages whose trainer `trainrelay plan` would start."""
        plans = json.loads(self.trainrelay("plan", "--json").stdout)
        return {f"{plan['run']}/{plan['stage']}" for plan in plans if plan["trains"]}


def make_project(folder: Path, config: dict[str, Any] = CONFIG) -> Project:
    """A fresh project in `folder`, nothing trained."""
    folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "ckpts", "work_dirs", "src")
    shutil.copytree(REPOSITORY / "workflow", folder / "workflow", ignore=ignore)
    shutil.copytree(REPOSITORY / "profiles", folder / "profiles")
    shutil.copytree(REPOSITORY / "envs", folder / "envs")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return Project(folder)


def save(project: Project, to: Path) -> None:
    """Keep the folder as it is; times stay, or Snakemake would see changes."""
    shutil.copytree(project.folder, to, symlinks=True)


def restore(project: Project, saved: Path) -> None:
    """Bring a saved folder back to its own place: records name absolute paths."""
    shutil.rmtree(project.folder, ignore_errors=True)
    shutil.copytree(saved, project.folder, symlinks=True)
