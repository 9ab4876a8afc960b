"""Trainer kind `mmcv`: mmcv 1.x runners started by `tools/train.py`, as UniAD v1 and v2.0 are.

Facts about the command line, the log and the files are those of mmcv 1.x and of UniAD's own train.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainrelay.command.base import (
    Launch,
    LaunchRequest,
    Observation,
    ResumeSeen,
    StepSeen,
    TrainerConfig,
)
from trainrelay.command.mmcv_config import read_config

# Settings that change where, how fast or how loudly a model is trained, but not its weights. `load_from` is
# judged by the checkpoint's content, and the epochs by the stage's own `epochs`.
_NOT_WEIGHTS = re.compile(
    r"(^|: )(log_config|log_level|checkpoint_config|evaluation|work_dir|dist_params|load_from|resume_from"
    r"|total_epochs|runner\.max_epochs|data\.workers_per_gpu|data\.persistent_workers)(\.|#|$)"
)
_STRETCHED = ("CosineAnnealing", "FlatCosineAnnealing", "LinearAnnealing", "OneCycle", "Poly", "poly")
_STEP = re.compile(r"Epoch \[(\d+)\]\[(\d+)/(\d+)\]\t")
_LOSS = re.compile(r", loss: ([^,\s]+)")
_ETA = re.compile(r"eta: (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")
_RESUMED = re.compile(r"resumed epoch (\d+), iter (\d+)")
_CHECKPOINT = re.compile(r"^epoch_(\d+)\.pth$")
_LOG = re.compile(r"^\d{8}_\d{6}\.log$")


class Mmcv:
    """How an mmcv 1.x trainer is started, what it prints, which files it leaves."""

    kind = "mmcv"

    def read_config(self, root: Path, config: str) -> TrainerConfig:
        """The facts of a Python config and its `_base_` chain."""
        return read_config(root, config)

    def changes_weights(self, setting: str) -> bool:
        """False for logging, evaluation, workers, paths and the backend."""
        return _NOT_WEIGHTS.search(setting) is None

    def config_epochs(self, facts: TrainerConfig) -> int | None:
        """`runner.max_epochs`, else the older `total_epochs`."""
        epochs = facts.literals.get("runner.max_epochs", facts.literals.get("total_epochs"))
        return epochs if isinstance(epochs, int) else None

    def schedule_over_all_epochs(self, facts: TrainerConfig) -> str | None:
        """mmcv's policies that are computed from max_epochs."""
        policy = facts.literals.get("lr_config.policy")
        return policy if policy in _STRETCHED else None

    def config_initial_checkpoint(self, facts: TrainerConfig) -> str | None:
        """`load_from`."""
        path = facts.literals.get("load_from")
        return path if isinstance(path, str) else None

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        """argv and environment of one start."""
        argv = [request.interpreter, "-u", "-m", request.launch_module, *_launcher(request)]
        argv += [request.entry, request.config, "--launcher", "pytorch", *request.arguments]
        argv += ["--seed", str(request.seed)] if request.seed is not None else []
        argv += ["--work-dir", request.work_dir]
        argv += ["--resume-from", request.resume_from] if request.resume_from else []
        argv += ["--cfg-options", *_options(request)]
        return Launch(tuple(argv), _environment(request, inherited), request.root)

    def observe(self, line: str) -> Observation | None:
        """Progress and the proof of a resume; every other line is None."""
        if "Epoch [" in line and (step := _STEP.search(line)):
            return StepSeen(int(step[1]), int(step[2]), int(step[3]), _loss(line), _eta_s(line))
        if "resumed epoch" in line and (resumed := _RESUMED.search(line)):
            return ResumeSeen(int(resumed[1]), int(resumed[2]))
        return None

    def checkpoints(self, work_dir: Path) -> list[tuple[int, Path]]:
        """epoch_N.pth, newest first by N: mtimes lie on network file systems, latest.pth may dangle."""
        found = [(_CHECKPOINT.match(path.name), path) for path in _files(work_dir)]
        return sorted(((int(m[1]), path) for m, path in found if m), reverse=True)

    def left_behind(self, work_dir: Path) -> list[str]:
        """Every *.pth: CheckpointHook writes through links and replaces latest.pth."""
        return sorted(path.name for path in work_dir.glob("*.pth")) if work_dir.is_dir() else []

    def checkpoint_path(self, work_dir: Path, epoch: int) -> Path:
        """CheckpointHook's name for it."""
        return work_dir / f"epoch_{epoch}.pth"

    def log_files(self, work_dir: Path) -> list[Path]:
        """The text logs of all starts, oldest first by the time in their names."""
        return sorted(path for path in _files(work_dir) if _LOG.match(path.name))


def _launcher(request: LaunchRequest) -> Iterator[str]:
    yield f"--nproc_per_node={request.nproc_per_node}"
    if request.master_port is not None:
        yield f"--master_port={request.master_port}"


def _options(request: LaunchRequest) -> Iterator[str]:
    for key, value in request.options.items():
        yield f"{key}={value}"
    yield f"dist_params.backend={request.backend}"
    if request.epochs is not None:
        yield f"runner.max_epochs={request.epochs}"
        yield f"total_epochs={request.epochs}"
    if request.load_from is not None:
        yield f"load_from={request.load_from}"


def _environment(request: LaunchRequest, inherited: Mapping[str, str]) -> dict[str, str]:
    parts = [request.root, request.env.get("PYTHONPATH", ""), inherited.get("PYTHONPATH", "")]
    return {**request.env, "PYTHONPATH": ":".join(part for part in parts if part)}


def _files(work_dir: Path) -> list[Path]:
    if not work_dir.is_dir():
        return []
    return [path for path in work_dir.iterdir() if path.is_file() and not path.is_symlink()]


def _loss(line: str) -> float | None:
    found = _LOSS.search(line)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return math.nan


def _eta_s(line: str) -> float | None:
    found = _ETA.search(line)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
