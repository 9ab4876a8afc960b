"""How a stage stands: the one reader of the training directories.

`read` gathers what lies on disk, `judge` decides from that alone. Rules, plan and command line are views of
the answer; nothing else looks into a training directory to decide what to do.
"""

from __future__ import annotations

import os
import shlex
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trainrelay.alive import lives
from trainrelay.config import Config, Stage, StagePaths, stage_paths
from trainrelay.ends import gave_up
from trainrelay.files import read_record
from trainrelay.finished import epochs_trained, why_not_lowered
from trainrelay.records import (
    RULES,
    Acceptance,
    AttemptRecord,
    CheckpointRecord,
    EpochBases,
    FileDigest,
    Identity,
    TrainRecord,
)
from trainrelay.signature import UNREADABLE, Difference, differences, ingredients, signature, trainer_of
from trainrelay.work_dirs import WorkDirs

# stopped: its supervisor gave up and needs your decision; a start tries again anyway. refused: nothing can be
# trained or promoted as the config asks.
StateKind = Literal["fresh", "running", "resumable", "complete", "stopped", "changed", "foreign", "refused"]
REFUSED: frozenset[StateKind] = frozenset({"foreign", "refused"})


_LEFT = "its supervisor died; if its trainer still runs, the next start follows it"


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
    by_rules_1: dict[str, str] | None = (
        None  # the ingredients as records of format 1 count them; None: the same
    )

    @property
    def signatures(self) -> set[str]:
        """What a record of this very training may be signed with, by the rules of its time."""
        return {signature(parts, self.epochs) for parts in (self.ingredients, self.by_rules_1) if parts}

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
    identity, bases = read_record(paths.identity, Identity), epoch_bases(config, run, attempts)
    dirs = replace(work_dirs(paths), bases=bases)
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
        by_rules_1=ingredients(config, run, stage, rules=1),
    )


def work_dirs(paths: StagePaths) -> WorkDirs:
    """Where a stage's checkpoints lie."""
    identity, kept = read_record(paths.identity, Identity), paths.folder.absolute() / "kept"
    return WorkDirs(paths.work_dir, identity.takeovers if identity else (), kept)


def epoch_bases(config: Config, run: str, attempts: tuple[AttemptRecord, ...]) -> EpochBases:
    """How a trainer counts epochs: as its kind does, as the config says, as the newest attempt knows."""
    if (fixed := trainer_of(config, run).epoch_bases) is not None:
        return fixed
    known = attempts[-1].epoch_bases if attempts else EpochBases()
    set_to = config.runs[run].trainer.epoch_base
    return known if set_to is None else known.model_copy(update={"saved": set_to})


def list_attempts(stage_folder: Path) -> tuple[AttemptRecord, ...]:
    """Every attempt of a stage, in order; UserError where an attempt.json is damaged."""
    records = (read_record(path, AttemptRecord) for path in stage_folder.glob("attempts/*/attempt.json"))
    return tuple(sorted((record for record in records if record), key=lambda record: record.number))


def attempt_log(stage_folder: Path, attempt: AttemptRecord) -> Path:
    """An attempt's console log, also when its stage's folder has been moved since."""
    return stage_folder / "attempts" / f"{attempt.number:03d}" / Path(attempt.log).name


def supervisor_may_live(attempt: AttemptRecord) -> bool:
    """Whether an open attempt may still be written to; of another host nobody here can tell."""
    if attempt.end is not None:
        return False
    if attempt.host != socket.gethostname():
        return True
    return lives(attempt.supervisor_pid, attempt.supervisor_start_s)


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
    counted = facts.ingredients if identity.format == RULES else facts.by_rules_1 or facts.ingredients
    before, now = dict(identity.ingredients), dict(counted)
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


def promoted_epoch(stage: Stage, facts: Facts) -> int:
    """The epoch that is promoted: a later one where the trainer went past it and kept only that."""
    asked = stage.checkpoint_epoch
    if stage.checkpoint != "latest" or any(epoch == asked for epoch, _ in facts.checkpoints):
        return asked
    return max(asked, epochs_trained(facts.attempts))


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
    if attempt.host == socket.gethostname():
        return State("running", what)
    return State("running", f"{what}; if that host is gone, the next start takes it over by itself")


def _complete(facts: Facts) -> State | None:
    recorded = facts.train is not None and facts.train.signature in facts.signatures
    if recorded and facts.accepted is None:
        return State("complete", f"{facts.epochs} of {facts.epochs} epochs trained")
    accepted = facts.accepted
    newest_s = facts.attempts[-1].started_s if facts.attempts else 0.0
    given = accepted is not None and accepted.kind == "gate" and accepted.epochs == facts.epochs
    if accepted and accepted.checkpoint and given and accepted.at_s > newest_s:
        return State("complete", f"taken as it is at epoch {accepted.checkpoint.epoch}: {accepted.reason}")
    return _trained(facts) if epochs_trained(facts.attempts) >= facts.epochs else None


def _trained(facts: Facts) -> State:
    """A finished training, of more epochs than the config asks for perhaps."""
    trained, there = epochs_trained(facts.attempts), {epoch for epoch, _ in facts.checkpoints}
    if why := why_not_lowered(facts.attempts, facts.epochs, there):
        accept = f'trainrelay accept {facts.run}/{facts.stage} --reason "..."'
        return State("refused", f"{why}; set epochs: {trained}, or take what is there as it is: {accept}")
    past = f"; warning: the trainer went on to epoch {trained}" if trained > facts.epochs else ""
    return State("complete", f"{facts.epochs} of {facts.epochs} epochs trained{past}")


def _unfinished(facts: Facts) -> State:
    last = facts.attempts[-1] if facts.attempts else None
    how = f"attempt {last.number}: {last.end or _LEFT}" if last else "not started"
    why = f" ({last.reason})" if last and last.reason else ""
    where = f"{facts.epochs_done} of {facts.epochs} epochs trained; {how}{why}"
    if last is not None and (decision := gave_up(last)):
        return State("stopped", f"needs your decision: {where}; {decision}")
    if facts.epochs_done >= facts.epochs:
        return State("resumable", f"{where}; its last checkpoint is verified at the next start")
    if last is not None and last.end == "done":
        return State("resumable", f"epochs raised from {last.epochs} to {facts.epochs}")
    return State("resumable", where)


def relative(path: Path) -> str:
    """A path as a person would type it from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
