"""Where things are: every path that trainrelay reads or writes, from the config alone (pure)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from trainrelay.config.models import Config


@dataclass(frozen=True, slots=True)
class StagePaths:
    """The files of one stage. `work_dir` and `target` are absolute, the others as `out` is."""

    folder: Path
    work_dir: Path
    target: Path | None
    identity: Path
    train: Path
    checkpoint: Path
    promoted: Path  # all that we ever wrote to the promotion target (undeclared, so it outlives a re-run)
    not_promoted: Path  # why
    removed: Path  # which checkpoints `keep` removed
    analysis: Path
    analysis_text: Path
    accepted: Path
    may_retrain: Path
    supervision: Path  # what stays when the training is archived: the lease


def trainer_root(config: Config, run: str, stage: str) -> Path:
    """The checkout of a stage's trainer, absolute."""
    return _absolute(Path(config.runs[run].trainer_of(stage).root))


def report_path(config: Config, run: str) -> Path:
    """The run's report."""
    return Path(config.out) / run / "report.html"


def overview_path(config: Config) -> Path:
    """The page of all runs."""
    return Path(config.out) / "index.html"


def stage_paths(config: Config, run: str, stage: str) -> StagePaths:
    """The files of one stage."""
    settings = config.stage(run, stage)
    folder = Path(config.out) / run / stage
    base = trainer_root(config, run, stage)
    work_dir = base / settings.work_dir if settings.work_dir else folder / "work_dir"
    target = base / settings.promotion.target if settings.promotion else None
    return StagePaths(
        folder=folder,
        work_dir=_absolute(work_dir),
        target=_absolute(target) if target else None,
        identity=folder / "stage.json",
        train=folder / "train.json",
        checkpoint=folder / "checkpoint.json",
        promoted=folder / "promoted.json",
        not_promoted=folder / "not-promoted.json",
        removed=folder / "removed.json",
        analysis=folder / "analysis.json",
        analysis_text=folder / "analysis.md",
        accepted=folder / "accepted.json",
        may_retrain=folder / "accepted-retrain.json",
        supervision=folder.with_name(f".{stage}"),
    )


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (normalises .., keeps symlinks)
