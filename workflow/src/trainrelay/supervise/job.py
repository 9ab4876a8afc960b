"""What the supervisor is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainrelay.command import LaunchRequest, Trainer


@dataclass(frozen=True, slots=True)
class StageJob:
    """One training of one stage.

    `request` is a template: the port and the resume point are filled in per attempt. `backend` is the
    ladder's name of what `request` asks for. `port` None: a free one is chosen per attempt.
    """

    run: str
    stage: str
    stage_dir: Path
    work_dir: Path  # absolute
    epochs: int
    world_size: int
    backend: str
    trainer: Trainer
    request: LaunchRequest
    port: int | None
    stop_grace_s: float
    log_name: str = "trainer.log"
    code: str | None = None  # the trainer checkout, as AttemptRecord.code

    @property
    def name(self) -> str:
        """As a person types it: RUN/STAGE."""
        return f"{self.run}/{self.stage}"
