"""The attempts of a stage: their records and logs, and the processes of theirs that still run here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from trainrelay.errors import UserError
from trainrelay.records import AttemptRecord, Leg, Processes
from trainrelay.system.alive import Kin, Process, find, here, same_host, supervisor_fate, written_to
from trainrelay.system.files import inside, read_record

PROCESSES = "processes.json"  # beside each attempt.json


def list_attempts(stage_folder: Path) -> tuple[AttemptRecord, ...]:
    """Every attempt of a stage, in order; UserError where an attempt.json is damaged."""
    try:
        folders = inside(stage_folder / "attempts")
        found = [read_record(folder / "attempt.json", AttemptRecord) for folder in folders]
    except UserError as error:
        running = living(stage_folder)
        raise UserError(f"{error}; but first: {still_run(running)}") if running else error from None
    return tuple(sorted((record for record in found if record), key=lambda record: record.number))


def attempt_log(stage_folder: Path, attempt: AttemptRecord) -> Path:
    """An attempt's console log, also when its stage's folder has been moved since."""
    return stage_folder / "attempts" / f"{attempt.number:03d}" / Path(attempt.log).name


def supervisor_may_live(attempt: AttemptRecord) -> bool:
    """Whether an open attempt may still be written to; of another host nobody here can tell."""
    return attempt.end is None and supervisor_fate(attempt) not in ("gone", "rebooted")


def last_seen_s(stage_folder: Path, attempt: AttemptRecord) -> float:
    """When an attempt ended; of one whose end nobody saw, when its log was last written to."""
    if attempt.ended_s is not None:
        return attempt.ended_s
    log = attempt_log(stage_folder, attempt)
    return max(attempt.started_s, log.stat().st_mtime if log.is_file() else 0.0)


def trained_last(attempts: Sequence[AttemptRecord], count: int) -> AttemptRecord | None:
    """The last attempt that may have trained an epoch (iteration); None: no record is left of it."""
    return next((one for one in reversed(attempts) if one.may_have_trained(count)), None)


def rank_hours(attempt: AttemptRecord, stage_folder: Path) -> float:
    """GPU-hours (rank-hours on cpu) of one attempt."""
    # Of two clocks the one that is behind would take away the hours of other attempts.
    return max(0.0, last_seen_s(stage_folder, attempt) - attempt.started_s) / 3600 * attempt.world_size


def legs(attempts: Iterable[AttemptRecord]) -> tuple[Leg, ...]:
    """What each run of a Slurm job did for a training, in order; none for what ran outside of Slurm."""
    runs = groupby(attempts, key=lambda attempt: attempt.slurm)
    return tuple(_leg(list(members)) for run, members in runs if run is not None)


def _leg(attempts: list[AttemptRecord]) -> Leg:
    first, last = attempts[0], attempts[-1]
    assert first.slurm is not None
    reached = [one.last_epoch for one in attempts if one.last_epoch is not None and one.unit == "epoch"]
    return Leg(
        slurm=first.slurm,
        attempts=tuple(attempt.number for attempt in attempts),
        epochs_before=first.began[0],
        last_epoch=max(reached, default=None),
        seconds=round(max(0.0, (last.ended_s or last.started_s) - first.started_s), 1),
        end=last.end or "lost",
        reason=last.reason or "",
    )


def living(stage_folder: Path, but: Collection[str] = ()) -> list[Process]:
    """Every process of a stage that can be seen here, but those of attempts with these tags.

    The records of the attempts may be damaged or gone.
    """
    return find(*kin) if (kin := _attempts_here(stage_folder, but).values()) else []


def left_running(stage_folder: Path, attempts: Sequence[AttemptRecord]) -> list[Process]:
    """What a dead supervisor left here; a scan of /proc, so only while its attempt is open."""
    is_open = bool(attempts) and attempts[-1].end is None and not supervisor_may_live(attempts[-1])
    return living(stage_folder) if is_open else []


def held_open(stage_folder: Path, but: Collection[str] = ()) -> Path | None:
    """A log that some process of this machine still writes, also one that cannot be seen here."""
    unknown = (one for one in inside(stage_folder / "attempts") if one.is_dir() and not _is_recorded(one))
    files = (file for one in (*_attempts_here(stage_folder, but), *unknown) for file in inside(one))
    return next((file for file in files if file.is_file() and written_to(file)), None)


def kin_of(attempt: Path) -> Kin | None:
    """By what the processes of an attempt are found, its folder tells; None where none can be here."""
    try:
        found, now = read_record(attempt / PROCESSES, Processes), here()
    except UserError:  # a power cut, which no process outlives
        return None
    if found is None or found.place.boot != now.boot:
        return None
    return Kin(found.tag, found.known if same_host(found.place, now) else ())


def still_run(found: Collection[Process]) -> str:
    """That processes of a stage still run, and what to do about them."""
    pids = " ".join(str(one.pid) for one in found)
    names = ", ".join(map(str, found))
    return f"processes of this stage still run here: {names}; wait for them, or run: kill {pids}"


def _is_recorded(attempt: Path) -> bool:
    """Whether at least one of its two records tells of it."""
    for name, kind in ((PROCESSES, Processes), ("attempt.json", AttemptRecord)):
        with suppress(UserError):
            if read_record(attempt / name, kind):
                return True
    return False


def _attempts_here(stage_folder: Path, but: Collection[str]) -> dict[Path, Kin]:
    found = ((folder, kin_of(folder)) for folder in inside(stage_folder / "attempts"))
    return {folder: kin for folder, kin in found if kin and kin.tag not in but}
