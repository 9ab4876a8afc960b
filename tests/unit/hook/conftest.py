"""Trainings that are killed and continued, with a test in the place of the supervisor."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainrelay.system.ports import free_port
from trainrelay_hook import files

RANKS = Path(__file__).parents[2] / "support" / "exact_ranks.py"


class Ranks:
    """The process that forks the ranks of each attempt."""

    def __init__(self) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        env["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, str(RANKS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def run(self, attempt: Path, work_dir: Path, case: dict[str, Any]) -> list[int]:
        """The ranks' exit statuses."""
        assert self.process.stdin
        assert self.process.stdout
        line = {"attempt": str(attempt), "work_dir": str(work_dir), "case": case, "port": free_port()}
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return list(json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        self.process.communicate()


class Stage:
    """A training in attempts, each continued at the newest step checkpoint that is whole."""

    def __init__(self, ranks: Ranks, folder: Path, **case: Any) -> None:
        self.ranks, self.folder, self.case, self.attempts = ranks, folder, case, 0
        self.steps: dict[str, Any] = {"every_s": 0.0, "keep": 2, "failures_max": 3, "exact": True}
        (folder / "lease").mkdir(parents=True)
        (folder / "lease" / "000007.json").touch()

    def attempt(self, number: int = 0) -> Path:
        return self.folder / f"attempts/{number or self.attempts:03d}"

    def run(self, *, resume: bool = True, **case: Any) -> list[int]:
        """One attempt; the exit statuses of its ranks."""
        newest = self.newest() if resume else None
        self.attempts += 1
        (self.attempt() / files.FOLDER).mkdir(parents=True)
        steps = {**self.steps, "folder": str(self.attempt() / files.STEPS), "token": 7}
        settings = {
            **{"format": files.FORMAT, "not_finite": True},
            "steps": {**steps, "claims": str(self.folder / "lease")},
            "resume": newest and {"path": str(newest)},
        }
        (self.attempt() / files.FOLDER / files.SETTINGS).write_text(json.dumps(settings))
        return self.ranks.run(self.attempt(), self.folder / "work_dir", {**self.case, **case})

    def valid(self) -> list[Path]:
        """The step checkpoints of all attempts, the newest first."""
        found = self.folder.glob(f"attempts/*/{files.STEPS}/*/{files.MANIFEST}")
        return sorted((one.parent for one in found if whole(one)), key=lambda one: one.name, reverse=True)

    def newest(self) -> Path | None:
        """The newest, if the trainer's own newest is not past it."""
        saved = [one.stem.split("_") for one in (self.folder / "work_dir").glob("*_[0-9]*.pth")]
        own = max((int(number) for kind, *_, number in saved if kind in ("epoch", "iter")), default=0)
        length = self.case.get("iterations", 13) if any(kind == "epoch" for kind, *_ in saved) else 1
        past = [one for one in self.valid() if manifest(one)["step"] >= own * length]
        return past[0] if past else None

    def note(self, rank: int) -> dict[str, Any]:
        return dict(json.loads((self.attempt() / files.FOLDER / files.NOTE.format(rank)).read_text()))

    def ends(self) -> list[dict[str, Any]]:
        """What each rank had when it was done."""
        world = self.case.get("world", 2)
        return [json.loads((self.attempt() / f"end-{rank}.json").read_text()) for rank in range(world)]

    def rows(self) -> dict[str, Any]:
        """What was logged, by epoch and iteration. Two attempts that log the same iteration say the same."""
        found: dict[str, Any] = {}
        for path in sorted(self.folder.glob("attempts/*/rows.jsonl")):
            for line in path.read_text().splitlines():
                place, values, rates = json.loads(line)
                key = json.dumps(place)
                assert found.setdefault(key, [values, rates]) == [values, rates], key
        return found

    def output(self) -> str:
        """For a message."""
        return "\n".join(path.read_text()[-600:] for path in self.attempt().glob("output-*.log"))


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / files.MANIFEST).read_text()))


def whole(path: Path) -> bool:
    """As the supervisor sees it."""
    for name, facts in manifest(path.parent)["files"].items():
        content = (path.parent / name).read_bytes()
        if [len(content), hashlib.sha256(content).hexdigest()] != [facts["bytes"], facts["sha256"]]:
            return False
    return True


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    """One process for all trainings of a module."""
    process = Ranks()
    yield process
    process.end()
