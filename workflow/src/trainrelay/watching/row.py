"""One stage in one line: what a view shows of it (pure)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from trainrelay.records import AttemptRecord
from trainrelay.supervise import LastOwner, StageEvent, Telemetry, left_s
from trainrelay.text import printable
from trainrelay.trainers import StepSeen
from trainrelay.training.state import Facts, StateKind

QUIET_BEATS = 2  # one beat may be late on a network file system

# running?: an attempt is open, and it is not known yet whether its supervisor lives. supervised: a supervisor
# is at work and no trainer runs. queued: its job waits for Slurm. suspended: the supervisor's process is.
# silent: its heartbeat does not change. orphaned: the supervisor died, the trainer runs on this host.
Label = (
    StateKind | Literal["running?", "orphaned", "queued", "supervised", "suspended", "silent", "unreadable"]
)


@dataclass(frozen=True, slots=True)
class StageStatus:
    """The word for it. `live` None: not known; `silent_s`: for how long this observer heard nothing."""

    label: Label
    live: bool | None
    silent_s: float | None = None


def status_of(kind: StateKind, seen: LastOwner | None) -> StageStatus:
    """The word for a stage whose lease was `seen` so."""
    running = kind == "running"
    if seen is None or seen.concluded.kind == "released":
        return StageStatus("running?", None) if running else StageStatus(kind, False)
    if seen.concluded.kind == "alive":
        at_work: Label = "running" if running else "supervised"
        return StageStatus("suspended" if seen.process == "stopped" else at_work, True)
    if not running:
        return StageStatus(kind, None if seen.concluded.kind == "unsure" else False)
    if seen.quiet_s > QUIET_BEATS * seen.claim.beat_s:
        return StageStatus("silent", False, seen.quiet_s)
    return StageStatus("running?", None)


_ATTEMPT_OPEN = ("running", "running?", "orphaned", "suspended", "silent")
_TIMED = ("running", "running?", "orphaned")
_WAITS = ("fresh", "resumable", "stopped", "changed")


@dataclass(frozen=True, slots=True)
class LogSample:
    """What an attempt's log says."""

    step: StepSeen | None = None
    losses: tuple[float, ...] = ()
    iterations_per_s: float | None = None
    telemetry: Telemetry | None = None  # what the ranks count themselves


@dataclass(frozen=True, slots=True)
class StageRow:
    """The state of a stage. What is not known is None; every text is printable."""

    run: str
    stage: str
    state: Label
    reason: str
    epochs: int | None = None
    epochs_with_checkpoint: int | None = None
    iterations_with_checkpoint: int | None = None  # of a training that counts those
    supervisor_lives: bool | None = None
    silent_s: float | None = None
    epoch: int | None = None
    iteration: int | None = None
    iterations_per_epoch: int | None = None
    loss: float | None = None
    last_losses: tuple[float, ...] = ()
    eta_s: float | None = None
    iterations_per_s: float | None = None
    backend: str | None = None
    backend_is_fallback_from: str | None = None  # the ladder's first rung, where another one is used
    attempt_number: int | None = None
    host: str | None = None
    iterations_lost: int = 0
    at_risk: str | None = None  # what a kill would cost now, a sentence
    last_event: str | None = None
    last_event_ago_s: float | None = None
    bad_nodes: tuple[str, ...] = ()  # sentences
    initial: str | None = None  # what came from the initial checkpoint, where its attempt began there
    counted: str | None = None  # by the ranks of the attempt: `step 1203, 0.42 s per step, data 12 %`

    @property
    def name(self) -> str:
        """RUN/STAGE."""
        return f"{self.run}/{self.stage}"

    @property
    def attempt_open(self) -> bool:
        """Whether an attempt is open, as far as is known."""
        return self.state in _ATTEMPT_OPEN

    def as_json(self) -> dict[str, Any]:
        """Plain values, each figure with its unit in its key; the sparkline's points are `last_losses`."""
        times = ("silent_s", "eta_s", "last_event_ago_s")
        rounded = {key: round(seconds, 1) for key in times if (seconds := getattr(self, key))}
        return asdict(self) | rounded


def with_queued_job(row: StageRow, job_id: str, reason: str) -> StageRow:
    """A stage that nobody trains now, whose job waits."""
    if row.state not in _WAITS:
        return row
    said = printable(f"job {job_id} waits in Slurm's queue ({reason}); {row.reason}")
    return replace(row, state="queued", reason=said)


def stage_row(
    facts: Facts,
    reason: str,
    status: StageStatus,
    sample: LogSample,
    *,
    lost: int,
    event: StageEvent | None,
    now_s: float,
) -> StageRow:
    """What is shown of a stage; `now_s` is Unix time, for the age of its last event alone."""
    attempt = facts.attempts[-1] if facts.attempts else None
    step = sample.step
    epoch, iteration, per_epoch = _place(facts, attempt, step)
    timed = status.label in _TIMED
    return StageRow(
        run=facts.at.run,
        stage=facts.at.stage,
        state=status.label,
        reason=printable(reason),
        epochs=facts.at.settings.epochs,
        epochs_with_checkpoint=facts.done if facts.unit == "epoch" else None,
        iterations_with_checkpoint=facts.done if facts.unit == "iteration" else None,
        supervisor_lives=status.live,
        silent_s=status.silent_s,
        epoch=epoch,
        iteration=iteration,
        iterations_per_epoch=per_epoch,
        loss=step.loss if step else None,
        last_losses=sample.losses,
        eta_s=left_s(step, facts.asked, sample.iterations_per_s) if timed and step else None,
        iterations_per_s=sample.iterations_per_s if timed else None,
        backend=printable(attempt.backend) if attempt else None,
        backend_is_fallback_from=_fallback_from(attempt) if attempt else None,
        attempt_number=attempt.number if attempt else None,
        host=printable(attempt.host) if attempt else None,
        iterations_lost=lost,
        at_risk=facts.at_risk(now_s),
        last_event=event.text if event else None,
        # By two clocks, so it can come out below nothing.
        last_event_ago_s=max(0.0, now_s - event.at_s) if event else None,
        initial=str(attempt.initial) if attempt and attempt.initial else None,
        counted=str(sample.telemetry) if sample.telemetry else None,
    )


def _place(
    facts: Facts, attempt: AttemptRecord | None, step: StepSeen | None
) -> tuple[int | None, int | None, int | None]:
    """Epoch, iteration and iterations per epoch: of the log, of the record, or of the checkpoints.

    Of a training by iterations no epoch, and all that are asked for.
    """
    if facts.unit == "iteration":
        printed = step.iteration if step else attempt.last_iteration if attempt else None
        whole = facts.done if facts.done >= facts.asked else None  # the last ones need not be printed
        return None, whole or printed or facts.done or None, facts.asked
    if step is not None:
        return step.epoch, step.iteration, step.iters_per_epoch
    if attempt is not None and attempt.last_epoch is not None:
        return attempt.last_epoch, attempt.last_iteration, attempt.iters_per_epoch
    return (facts.done or None), None, None


def _fallback_from(attempt: AttemptRecord) -> str | None:
    first = attempt.ladder[0] if attempt.ladder else attempt.backend
    return printable(first) if first != attempt.backend else None
