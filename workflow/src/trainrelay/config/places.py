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

    @property
    def identity(self) -> Path:
        return self.folder / "stage.json"

    @property
    def train(self) -> Path:
        return self.folder / "train.json"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.json"

    @property
    def analysis(self) -> Path:
        return self.folder / "analysis.json"

    @property
    def analysis_text(self) -> Path:
        return self.folder / "analysis.md"

    @property
    def accepted(self) -> Path:
        return self.folder / "accepted.json"

    @property
    def may_retrain(self) -> Path:
        return self.folder / "accepted-retrain.json"

    @property
    def supervision(self) -> Path:
        """What stays when the training is archived: the lease."""
        return self.folder.with_name(f".{self.folder.name}")

    @property
    def promoted(self) -> Path:
        """All that we ever wrote to the promotion target (undeclared, so it outlives a re-run)."""
        return self.folder / "promoted.json"


def trainer_root(config: Config, run: str) -> Path:
    """The trainer's checkout, absolute."""
    return _absolute(Path(config.runs[run].trainer.root))


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
    base = trainer_root(config, run)
    work_dir = base / settings.work_dir if settings.work_dir else folder / "work_dir"
    target = base / settings.promotion.target if settings.promotion else None
    return StagePaths(folder, _absolute(work_dir), _absolute(target) if target else None)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (normalises .., keeps symlinks)
