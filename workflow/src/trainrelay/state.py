"""How a stage stands: the one reader of the training directories.

`read` gathers what lies on disk, `judge` decides from that alone. Rules, plan and command line are views of
the answer; nothing else looks into a training directory to decide what to do.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainrelay.alive import Kin, Process, find, here, same_host, supervisor_fate, written_to
from trainrelay.config import Config, StagePaths, stage_paths
from trainrelay.errors import UserError
from trainrelay.files import read_record
from trainrelay.records import (
    Acceptance,
    AttemptRecord,
    CheckpointRecord,
    EndClass,
    FileDigest,
    Identity,
    Processes,
    TrainRecord,
)
from trainrelay.signature import UNREADABLE, Difference, differences, ingredients, signature, trainer_of
from trainrelay.work_dirs import WorkDirs

PROCESSES = "processes.json"  # beside each attempt.json

StateKind = Literal["fresh", "running", "resumable", "complete", "failed", "changed", "foreign"]
_FINAL: frozenset[EndClass | None] = frozenset({"diverged", "oom-gpu", "disk-full", "not-resumed"})


_LEFT = "its supervisor died; where its trainer goes on, the next start follows it"


@dataclass(frozen=True, slots=True)
class Facts:
    """What lies on disk for one stage, and what the config asks of it now."""

    run: str
    stage: str
    epochs: int
    paths: StagePaths
    ingredients: dict[str, str]
    parent: FileDigest | None  # the checkpoint that the earlier stage hands on at this moment
    work_dirs: WorkDirs
    identity: Identity | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    checkpoints: tuple[tuple[int, Path], ...] = ()  # newest epoch first
    left_behind: tuple[str, ...] = ()  # everything in the work dir that a start could overwrite
    elsewhere: Path | None = None  # where the training lies, if the config names another work dir now
    train: TrainRecord | None = None
    accepted: Acceptance | None = None
    alive: bool = False  # the newest attempt's supervisor lives, or may live, somewhere

    @property
    def epochs_done(self) -> int:
        """The newest epoch with a checkpoint; whether it is sound is judged when it is used."""
        return max((epoch for epoch, _ in self.checkpoints), default=0)

    @property
    def gpu_h(self) -> float:
        """GPU-hours of all attempts so far."""
        return sum(gpu_h(attempt, self.paths.folder) for attempt in self.attempts)


@dataclass(frozen=True, slots=True)
class State:
    """How a stage stands and the sentence that says why."""

    kind: StateKind
    reason: str
    differences: tuple[Difference, ...] = ()


def read(config: Config, run: str, stage: str) -> Facts:
    """Everything that lies on disk for a stage; UserError names a file of ours that is damaged."""
    paths = stage_paths(config, run, stage)
    attempts, trainer = list_attempts(paths.folder), trainer_of(config, run)
    identity = read_record(paths.identity, Identity)
    dirs = WorkDirs(paths.work_dir, identity.takeovers if identity else ())
    return Facts(
        run=run,
        stage=stage,
        epochs=config.stage(run, stage).epochs,
        paths=paths,
        ingredients=ingredients(config, run, stage),
        parent=handed_on(config, run, stage),
        identity=identity,
        attempts=attempts,
        work_dirs=dirs,
        checkpoints=tuple(dirs.checkpoints(trainer)),
        left_behind=tuple(trainer.left_behind(paths.work_dir)),
        elsewhere=_elsewhere(identity, paths),
        train=read_record(paths.train, TrainRecord),
        accepted=read_record(paths.accepted, Acceptance),
        alive=bool(attempts) and supervisor_may_live(attempts[-1]),
    )


def work_dirs(paths: StagePaths) -> WorkDirs:
    """Where a stage's checkpoints lie."""
    identity = read_record(paths.identity, Identity)
    return WorkDirs(paths.work_dir, identity.takeovers if identity else ())


def list_attempts(stage_folder: Path) -> tuple[AttemptRecord, ...]:
    """Every attempt of a stage, in order; UserError where an attempt.json is damaged."""
    try:
        found = [read_record(path, AttemptRecord) for path in stage_folder.glob("attempts/*/attempt.json")]
    except UserError as error:
        raise beside_living(error, stage_folder) from None
    return tuple(sorted((record for record in found if record), key=lambda record: record.number))


def beside_living(error: UserError, stage_folder: Path) -> UserError:
    """The error; where processes of the stage live, with what comes before its advice."""
    found = living(stage_folder)
    return UserError(f"{error}; but first: {still_run(found)}") if found else error


def still_run(found: Collection[Process]) -> str:
    """That processes of a stage still run, and what to do about them."""
    pids = " ".join(str(one.pid) for one in found)
    names = ", ".join(map(str, found))
    return f"processes of this stage still run here: {names}; wait for them, or run: kill {pids}"


def living(stage_folder: Path, but: Collection[str] = ()) -> list[Process]:
    """Every process of a stage that can be seen here, but those of attempts with these tags.

    The records of the attempts may be damaged or gone.
    """
    return find(*kin) if (kin := _attempts_here(stage_folder, but).values()) else []


def held_open(stage_folder: Path, but: Collection[str] = ()) -> Path | None:
    """A log that some process of this machine still writes, also one that cannot be seen here."""
    files = (file for attempt in _attempts_here(stage_folder, but) for file in attempt.iterdir())
    return next((file for file in files if file.is_file() and written_to(file)), None)


def _attempts_here(stage_folder: Path, but: Collection[str]) -> dict[Path, Kin]:
    found = ((folder, kin_of(folder)) for folder in stage_folder.glob("attempts/*"))
    return {folder: kin for folder, kin in found if kin and kin.tag not in but}


def kin_of(attempt: Path) -> Kin | None:
    """By what the processes of an attempt are found, its folder tells; None where none can be here."""
    try:
        found, now = read_record(attempt / PROCESSES, Processes), here()
    except UserError:  # a power cut, which no process outlives
        return None
    if found is None or found.place.boot != now.boot:
        return None
    return Kin(found.tag, found.known if same_host(found.place, now) else ())


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


def gpu_h(attempt: AttemptRecord, stage_folder: Path) -> float:
    """GPU-hours (rank-hours on cpu) of one attempt."""
    return (last_seen_s(stage_folder, attempt) - attempt.started_s) / 3600 * attempt.world_size


def judge(facts: Facts) -> State:
    """How the stage stands (pure)."""
    if facts.identity is None:
        return _without_identity(facts)
    if facts.alive:
        return _running(facts)
    if facts.elsewhere is not None and _complete(facts) is None:
        return State("foreign", _moved(facts.elsewhere, facts.paths.work_dir))
    if changes := identity_changes(facts, facts.identity):
        return State("changed", "what it is trained from has changed", tuple(changes))
    if (complete := _complete(facts)) is not None:
        return complete
    return _unfinished(facts)


def identity_changes(facts: Facts, identity: Identity) -> list[Difference]:
    """What the training on disk was and what the config asks for now, where they differ.

    Where the trainer config cannot be read (its checkout is not on this machine), nothing is known to have
    changed in it, so only the rest is compared.
    """
    before, now = dict(identity.ingredients), dict(facts.ingredients)
    if UNREADABLE in now:
        known = {key for key in now if key not in (UNREADABLE, "init_from")}
        before = {key: value for key, value in before.items() if key in known}
        now = {key: value for key, value in now.items() if key in known}
    changes = differences(before, now)
    old, new = identity.initial_checkpoint, facts.parent
    if old and new and old.sha256 != new.sha256:
        changes.append(Difference("initial checkpoint", f"sha256 {old.sha256[:12]}", f"{new.sha256[:12]}"))
    return changes


def twin_aside(facts: Facts) -> Path | None:
    """A set-aside folder of this stage that holds exactly the training that the config asks for now."""
    folder = facts.paths.folder
    for aside in sorted(folder.parent.glob(f"{folder.name}.old-*")):
        identity = read_record(aside / facts.paths.identity.name, Identity)
        trained = any(attempt.last_epoch or attempt.end == "done" for attempt in list_attempts(aside))
        if identity is not None and trained and not identity_changes(facts, identity):
            return aside
    return None


def current(config: Config, run: str, stage: str) -> State:
    """How a stage stands at this moment."""
    return judge(read(config, run, stage))


def handed_on(config: Config, run: str, stage: str) -> FileDigest | None:
    """The checkpoint that a stage starts from, as the earlier stage promoted it; None before that."""
    parent = config.stage(run, stage).init_from
    if parent is None:
        return None
    record = read_record(stage_paths(config, run, parent).checkpoint, CheckpointRecord)
    return record.source.file if record else None


def _elsewhere(identity: Identity | None, paths: StagePaths) -> Path | None:
    """The work dir that holds the training, where it is not the config's; one moved by hand is found."""
    if identity is None or identity.work_dir is None or identity.work_dir == str(paths.work_dir):
        return None
    old = Path(identity.work_dir)
    return old if old.is_dir() else None


def _moved(old: Path, new: Path) -> str:
    mv = f"mv {shlex.quote(str(old))} {shlex.quote(str(new))}"
    return f"its checkpoints lie in {old}, but work_dir is {new} now; type: {mv} (or set work_dir back)"


def _without_identity(facts: Facts) -> State:
    folder, record = facts.paths.work_dir, facts.paths.train
    if facts.left_behind:
        what = f"{folder} holds {facts.left_behind[0]}, which trainrelay did not train; it is neither"
        mv = f"mv {shlex.quote(str(folder))} {shlex.quote(f'{folder}.old')}"
        typed = f"to train anew, type: {mv} (or set another work_dir in the config)"
        return State("foreign", f"{what} resumed nor overwritten; {typed}")
    if facts.train is not None:
        what = f"{record} is there, but the training it speaks of is not"
        return State("foreign", f"{what}; to train anew, type: rm {shlex.quote(str(record))}")
    return State("fresh", "nothing trained yet")


def _running(facts: Facts) -> State:
    attempt = facts.attempts[-1]
    what = f"attempt {attempt.number} on {attempt.host}, pid {attempt.supervisor_pid}"
    if supervisor_fate(attempt) != "elsewhere":
        return State("running", what)
    return State("running", f"{what}; if that host is gone, the next start takes it over by itself")


def _complete(facts: Facts) -> State | None:
    done = max((attempt.epochs for attempt in facts.attempts if attempt.end == "done"), default=0)
    recorded = facts.train is not None and facts.train.signature == signature(facts.ingredients, facts.epochs)
    if done >= facts.epochs or (recorded and facts.accepted is None):
        return State("complete", f"{facts.epochs} of {facts.epochs} epochs trained")
    accepted = facts.accepted
    newest_s = facts.attempts[-1].started_s if facts.attempts else 0.0
    given = accepted is not None and accepted.kind == "gate" and accepted.epochs == facts.epochs
    if accepted and accepted.checkpoint and given and accepted.at_s > newest_s:
        return State("complete", f"taken as it is at epoch {accepted.checkpoint.epoch}: {accepted.reason}")
    return None


def _unfinished(facts: Facts) -> State:
    last = facts.attempts[-1] if facts.attempts else None
    how = f"attempt {last.number}: {last.end or _LEFT}" if last else "not started"
    why = f" ({last.reason})" if last and last.reason else ""
    where = f"{facts.epochs_done} of {facts.epochs} epochs trained; {how}{why}"
    if last is not None and last.end in _FINAL:
        return State("failed", where)
    if last is not None and last.end == "done":
        return State("resumable", f"epochs raised from {last.epochs} to {facts.epochs}")
    return State("resumable", where)


def relative(path: Path) -> str:
    """A path as a person would type it from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
