"""The state of a stage: the one reader of the training directories.

`read` gathers what is on disk, `judge` decides from that. Rules, plan and command line are views of
the answer; nothing else looks into a training directory to decide what to do.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from trainrelay.checkpoint import stamp_of
from trainrelay.config import StagePaths
from trainrelay.errors import RecordError, UserError
from trainrelay.records import (
    KEYS,
    Acceptance,
    AttemptRecord,
    CheckpointFacts,
    CheckpointRecord,
    EpochBases,
    FileDigest,
    Identity,
    NotPromoted,
    Owner,
    Promotions,
    Removals,
    TrainRecord,
    Unit,
    gave_up,
)
from trainrelay.system.alive import supervisor_fate
from trainrelay.system.files import read_record, same_place, unused
from trainrelay.system.hints import made_again
from trainrelay.text import count
from trainrelay.training.archive import ArchivedTraining, archived_trainings
from trainrelay.training.attempts import list_attempts, rank_hours, supervisor_may_live, trained_last
from trainrelay.training.context import StageContext
from trainrelay.training.finished import trained_to, why_not_lowered
from trainrelay.training.owners import owner_of
from trainrelay.training.signature import (
    EXACT,
    Difference,
    comparable,
    differences,
    ingredients,
    signature,
    without_exact,
)
from trainrelay.training.step_checkpoints import StepCheckpoint, read_steps
from trainrelay.training.work_dir_problems import gone, lost, not_ours, unknown
from trainrelay.training.work_dirs import WorkDirs, work_dirs_elsewhere

# stopped: its supervisor gave up and needs your decision; a start tries again anyway. refused: nothing can be
# trained or promoted as the config asks.
StateKind = Literal["fresh", "running", "resumable", "complete", "stopped", "changed", "foreign", "refused"]
REFUSED: frozenset[StateKind] = frozenset({"foreign", "refused"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What is on disk for one stage, and what the config asks of it now."""

    at: StageContext
    asked: int  # epochs or iterations
    ingredients: dict[str, str]
    parent: FileDigest | None  # the checkpoint that the earlier stage has promoted
    work_dirs: WorkDirs
    identity: Identity | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    checkpoints: tuple[tuple[int, Path], ...] = ()  # newest first
    steps: tuple[StepCheckpoint, ...] = ()  # the furthest first
    left_behind: tuple[str, ...] = ()  # everything in the work dir that a start could overwrite
    elsewhere: WorkDirs | None = None  # where the training is, if the config names another work dir now
    owners: Mapping[Path, Owner | None] = field(default_factory=dict)  # of the work dirs
    not_ours: str | None = None  # the sentence about a work dir that another training owns
    lost: str | None = None  # that about a training whose stage.json is gone
    train: TrainRecord | None = None
    promoted: CheckpointRecord | None = None
    not_promoted: NotPromoted | None = None
    accepted: Acceptance | None = None
    may_retrain: Acceptance | None = None
    removed: Removals = field(default_factory=Removals)  # by `keep`
    alive: bool = False  # the newest attempt's supervisor lives, or may live, somewhere

    @property
    def name(self) -> str:
        """RUN/STAGE."""
        return self.at.name

    @property
    def paths(self) -> StagePaths:
        """The stage's files."""
        return self.at.paths

    @property
    def unit(self) -> Unit:
        """What the training counts; `asked` and `done` are so many of them."""
        return self.at.settings.unit

    @property
    def signature(self) -> str:
        """What a record of this very training is signed with."""
        return signature(self.ingredients, self.asked)

    @property
    def done(self) -> int:
        """The newest epoch (iteration) with a checkpoint; whether it is valid is checked when it is used."""
        return max((epoch for epoch, _ in self.checkpoints), default=0)

    @property
    def reached(self) -> str:
        """`done` in words: before a start has learnt how the trainer counts epochs, it may be one more."""
        known = self.work_dirs.bases.saved is not None or not self.checkpoints or self.done >= self.asked
        return str(self.done) if known else f"{self.done} or {self.done + 1}"

    @property
    def step(self) -> StepCheckpoint | None:
        """The furthest step checkpoint, if the trainer has saved none past it; judged when it is used."""
        return next((one for one in self.steps if one.reached >= (self.done, 0)), None)

    def at_risk(self, now_s: float) -> str | None:
        """What a kill would cost at this moment (Unix time); None where nothing is being trained."""
        if not self.alive:
            return None
        attempt = self.attempts[-1]
        saved_s = [attempt.started_s, *(one.manifest.saved_s for one in self.steps)]
        for _, path in self.checkpoints[:1]:
            with suppress(OSError, UserError):
                saved_s.append(stamp_of(path)[2] / 1e9)
        lost_s = max(0.0, now_s - max(saved_s))  # by several clocks
        lost = f"{lost_s:.0f} s" if lost_s < 60 else f"{lost_s / 60:.0f} min"
        what = "GPU" if self.at.trainer_settings.device == "cuda" else "process"
        return f"a kill now would cost {lost} ({lost_s / 3600 * attempt.world_size:.2g} {what}-hours)"

    @property
    def gpu_h(self) -> float:
        """GPU-hours of all attempts so far."""
        return sum(rank_hours(attempt, self.paths.folder) for attempt in self.attempts)


@dataclass(frozen=True, slots=True)
class State:
    """The state of a stage and the sentence that says why."""

    kind: StateKind
    reason: str
    differences: tuple[Difference, ...] = ()


def read(at: StageContext) -> Facts:
    """Everything that is on disk for a stage; RecordError names a file of ours that is damaged."""
    with naming(at):
        return _read(at)


@contextmanager
def naming(at: StageContext) -> Iterator[None]:
    """A sentence about a damaged record names this stage."""
    try:
        yield
    except RecordError as error:
        error.args = (str(error).replace("RUN/STAGE", at.name),)
        raise


def _read(at: StageContext) -> Facts:
    at = replace(at)  # the trainer's files as they are now
    paths, attempts = at.paths, list_attempts(at.paths.folder)
    identity, bases = read_record(paths.identity, Identity), epoch_bases(at, attempts)
    dirs = replace(work_dirs(paths), bases=bases, attempts=attempts)
    owners = {folder: owner_of(folder) for folder in dirs.all}
    facts = Facts(
        at=at,
        asked=at.settings.asked,
        ingredients=ingredients(at),
        parent=promoted_file(at),
        identity=identity,
        attempts=attempts,
        work_dirs=dirs,
        checkpoints=tuple(dirs.checkpoints(at.trainer)),
        steps=tuple(read_steps(paths.folder)[0]) if at.trainer.has_steps else (),
        left_behind=tuple(at.trainer.left_behind(paths.work_dir)),
        elsewhere=work_dirs_elsewhere(identity, paths, owners[paths.work_dir]),
        owners=owners,
        not_ours=(others := not_ours(identity, paths, owners)),
        lost=None if identity or others else lost(paths, dirs, owners),
        train=read_record(paths.train, TrainRecord),
        promoted=read_record(paths.checkpoint, CheckpointRecord),
        not_promoted=read_record(paths.not_promoted, NotPromoted),
        accepted=read_record(paths.accepted, Acceptance),
        may_retrain=read_record(paths.may_retrain, Acceptance),
        removed=read_record(paths.removed, Removals) or Removals(),
        alive=bool(attempts) and supervisor_may_live(attempts[-1]),
    )
    switched_on = identity is not None and EXACT in facts.ingredients and EXACT not in identity.ingredients
    if not switched_on or never_trained(facts):
        return facts
    return replace(facts, ingredients=without_exact(facts.ingredients))


def work_dirs(paths: StagePaths) -> WorkDirs:
    """Where a stage's checkpoints are."""
    identity, kept = read_record(paths.identity, Identity), paths.folder.absolute() / "kept"
    return WorkDirs(paths.work_dir, identity.takeovers if identity else (), kept)


def epoch_bases(at: StageContext, attempts: tuple[AttemptRecord, ...]) -> EpochBases:
    """How a trainer counts epochs: as its kind does, as the config says, as the newest attempt knows."""
    if (fixed := at.trainer.epoch_bases) is not None:
        return fixed
    known = attempts[-1].epoch_bases if attempts else EpochBases()
    set_to = at.trainer_settings.epoch_base
    return known if set_to is None else known.model_copy(update={"saved": set_to})


def judge(facts: Facts) -> State:
    """The state of the stage; looks for left-over files only where a changed training left no checkpoint."""
    if facts.identity is None:
        return _without_identity(facts)
    changes = identity_changes(facts, facts.identity)
    if facts.alive:
        return replace(_running(facts), differences=tuple(changes))
    complete = None if changes else _complete(facts)
    if complete is not None and (facts.elsewhere or not facts.not_ours):
        refused = refused_promotion(facts)
        warning = f"; warning: its last promotion was refused: {refused}" if refused else ""
        return replace(complete, reason=complete.reason + warning)
    if problem := _unusable(facts, facts.identity, changed=bool(changes)):
        return State("foreign", problem)
    if changes:
        kind: StateKind = "fresh" if never_trained(facts) else "changed"
        return State(kind, "the training's identity has changed", tuple(changes))
    return _unfinished(facts)


def refused_promotion(facts: Facts) -> str:
    """Why the last promotion was refused; empty if it was not."""
    return facts.not_promoted.reason if facts.not_promoted and not taken_as_is(facts) else ""


def never_trained(facts: Facts) -> bool:
    """Whether its attempts, if any, all failed before they trained: there is nothing to keep from another."""
    left = facts.checkpoints or facts.left_behind or facts.work_dirs.unrecognised(facts.at.trainer)
    trained = facts.steps or any(one.last_epoch or one.end == "done" for one in facts.attempts)
    return not (left or trained or facts.elsewhere or facts.train)


def identity_changes(facts: Facts, identity: Identity) -> list[Difference]:
    """What the training on disk was and what the config asks for now, where they differ.

    Where the trainer config cannot be read (its checkout is not on this machine), nothing is known to have
    changed in it, so only the rest is compared.
    """
    now = facts.ingredients
    changes = differences(comparable(identity.ingredients, now), comparable(now, now))
    old, new = identity.initial_checkpoint, facts.parent
    if old and new and old.sha256 != new.sha256:
        changes.append(Difference("initial checkpoint", f"sha256 {old.sha256[:12]}", f"{new.sha256[:12]}"))
    return changes


def archived_twin(facts: Facts) -> ArchivedTraining | None:
    """An archived training that is exactly the one that the config asks for now."""
    with naming(facts.at):
        for one in archived_trainings(facts.paths):
            attempts = list_attempts(one.folder)
            trained = any(attempt.last_epoch or attempt.end == "done" for attempt in attempts)
            if trained and not identity_changes(facts, one.identity):
                return one
    return None


def taken_as_is(facts: Facts) -> CheckpointFacts | None:
    """The checkpoint that the user takes in place of more training, unless more was asked for since."""
    given, newest = facts.accepted, facts.attempts[-1].number if facts.attempts else 0
    asked = given and (given.epochs if facts.unit == "epoch" else given.iters)
    if given is None or asked != facts.asked or newest > (given.attempt or newest):
        return None
    done = given.checkpoint.done(facts.unit) if given.checkpoint else None
    if done is not None and done < facts.asked <= trained_to(facts.attempts):
        return None  # chosen of a finished training, not taken in place of more
    return given.checkpoint


def recorded(attempts: Sequence[AttemptRecord], count: int) -> CheckpointFacts | None:
    """The checkpoint of an epoch (iteration) as recorded, unless a later attempt may have saved it again."""
    for attempt in reversed(attempts):
        found, printed = attempt.final_checkpoint, attempt.printed
        if found is not None and found.done(attempt.unit) == count:
            return found
        # Of iterations, only some are printed.
        if attempt.resumed_at < count and (printed is None or printed >= count or attempt.iters):
            return None
    return None


def not_as_recorded(facts: Facts, found: CheckpointFacts) -> str | None:
    """Why a checkpoint is not the one that was trained, unless the user accepted it as it is."""
    name, given = facts.name, facts.accepted
    known = recorded(facts.attempts, found.done(facts.unit) or 0) or promoted_best(facts, found.epoch or 0)
    accepted = given is not None and given.subject == found.file.sha256
    if known is None or accepted or known.file.sha256 == found.file.sha256:
        return None
    return (
        f"{name}: {found.file.path} is not the checkpoint that was recorded (sha256 {found.file.sha256[:12]},"
        f" recorded: {known.file.sha256[:12]}); put that file back, or take this one as it is:"
        f' trainrelay accept {name} --reason "..."'
    )


def not_as_asked(facts: Facts) -> str | None:
    """Why a training is not the one that the config asks for now, with the difference."""
    if facts.identity is None or not (changes := identity_changes(facts, facts.identity)):
        return None
    name, twin = facts.name, archived_twin(facts)
    verb = f"trainrelay restore {name} {twin.number}" if twin else made_again(facts.paths.train)
    listed = "; ".join(map(str, changes))
    return f"{name} is not the training that the config asks for now ({listed}); revert that, or run: {verb}"


def current(at: StageContext) -> State:
    """The state of a stage at this moment."""
    return judge(read(at))


def promoted_as_asked(facts: Facts) -> CheckpointFacts | None:
    """The last checkpoint, where it or the best was promoted as asked; its file may be gone since."""
    record, done = facts.train, facts.promoted
    if record is None or done is None or record.signature != facts.signature:
        return None
    found, best = record.final_checkpoint, done.best and done.best.asked
    if best or facts.at.settings.best:
        return found if best == facts.at.settings.best and found.done(facts.unit) == facts.asked else None
    if done.target is None:
        return None
    is_last = found.done(facts.unit) == facts.asked
    return found if is_last and found.file.sha256 == done.source.file.sha256 else None


def chooses(facts: Facts) -> bool:
    """Whether the best is to be promoted, not what the user took in place of more training."""
    taken = taken_as_is(facts) is not None and trained_to(facts.attempts) < facts.asked
    return facts.at.settings.best is not None and not taken


def promoted_best(facts: Facts, count: int) -> CheckpointFacts | None:
    """The checkpoint of a count as it was promoted as the best, unless a later attempt trained it again."""
    noted = read_record(facts.paths.promoted, Promotions) if facts.at.settings.best else None
    done, last = noted.best if noted else None, trained_last(facts.attempts, count)
    if done is None or done.best is None or done.best.first.done != count:
        return None
    return done.source if done.best.attempt == (last and last.number) else None


def promoted_count(facts: Facts) -> int:
    """What is promoted, unless the best is: a later epoch (iteration) where the trainer kept only that."""
    settings = facts.at.settings
    asked, there = settings.promoted_count, {epoch for epoch, _ in facts.checkpoints}
    if settings.choice.count or asked in there or promoted_as_asked(facts):
        return asked
    return max(asked, trained_to(facts.attempts))


def promoted_file(at: StageContext) -> FileDigest | None:
    """The checkpoint that a stage starts from, as the earlier stage promoted it; None before that."""
    record = read_record(at.parent.paths.checkpoint, CheckpointRecord) if at.parent else None
    return record.source.file if record else None


def _unusable(facts: Facts, identity: Identity, *, changed: bool) -> str | None:
    """Why the work dir that the config names can be neither resumed from nor written to."""
    new, old = facts.paths.work_dir, facts.elsewhere
    if facts.not_ours:
        return facts.not_ours
    if old is None or changed:  # a changed training's checkpoints stay where they are
        named = same_place(new, Path(identity.work_dir or new)) or facts.owners.get(new)
        strange = facts.left_behind and not named and (old or identity.owner)
        return unknown(new, facts.left_behind[0]) if strange else None
    moves = zip(old.all, WorkDirs(new, old.takeovers).all, strict=True)
    mv = " && ".join(shlex.join(["mv", str(source), str(to)]) for source, to in moves if source.is_dir())
    return f"its checkpoints are in {old.first}, but work_dir is {new} now; run: {mv} (or set work_dir back)"


def _without_identity(facts: Facts) -> State:
    record = facts.paths.train
    problem = facts.not_ours or facts.lost
    if problem or facts.left_behind:
        return State("foreign", problem or unknown(facts.paths.work_dir, facts.left_behind[0]))
    if facts.train is not None:
        mv = shlex.join(["mv", str(record), str(unused(record, "old"))])
        what = f"{record} is there, but the training it speaks of is not"
        return State("foreign", f"{what}; put it back, or, to train from scratch, run: {mv}")
    return State("fresh", "nothing trained yet")


def _running(facts: Facts) -> State:
    attempt = facts.attempts[-1]
    what = f"attempt {attempt.number} on {attempt.host}, supervisor pid {attempt.supervisor_pid}"
    over = "; if that host is gone, the next start takes it over"
    return State("running", what + over if supervisor_fate(attempt) == "elsewhere" else what)


def _complete(facts: Facts) -> State | None:
    """Whether it is finished, or what contradicts that; None: more is to be trained."""
    if facts.accepted and (taken := taken_as_is(facts)):
        return State(
            "complete", f"taken as it is at {facts.unit} {taken.done(facts.unit)}: {facts.accepted.reason}"
        )
    trained, there = trained_to(facts.attempts), {epoch for epoch, _ in facts.checkpoints}
    recorded = facts.train is not None and facts.train.signature == facts.signature and not facts.attempts
    if recorded or promoted_as_asked(facts):
        return State("complete", f"{facts.asked} of {facts.asked} {facts.unit}s trained")
    ended = trained >= facts.asked
    why = why_not_lowered(facts.attempts, facts.asked, there, facts.unit)
    if why := why or (_counted_otherwise(facts) if ended else None):
        accept = f'trainrelay accept {facts.name} --reason "..."'
        return State("refused", f"{why}, or take what is there as it is: {accept}")
    last_gone = _last_gone(facts) if ended else None
    if not ended or (last_gone and 0 < facts.done < facts.asked):
        return None
    warning = f"; warning: the trainer continued to {facts.unit} {trained}" if trained > facts.asked else ""
    warning += f"; warning: {last_gone}; put it back before it is promoted" if last_gone else ""
    return State("complete", f"{facts.asked} of {facts.asked} {facts.unit}s trained{warning}")


def _last_gone(facts: Facts) -> str | None:
    """That a finished training's checkpoint is not there any more, before it was promoted."""
    epoch, promoted = promoted_count(facts), facts.promoted
    known = recorded(facts.attempts, epoch)
    not_needed = promoted and known and promoted.source.file.sha256 == known.file.sha256
    there = facts.elsewhere or any(one == epoch for one, _ in facts.checkpoints)
    return None if there or not_needed else f"its checkpoint of {facts.unit} {epoch} is gone"


def _counted_otherwise(facts: Facts) -> str | None:
    """That the config's epoch_base is not the one by which a finished training was counted."""
    last = next((one for one in reversed(facts.attempts) if one.end == "done"), None)
    known = last.epoch_bases.saved or 0 if last else None
    asked = facts.at.trainer_settings.epoch_base
    if last and asked not in (None, known):
        counted = f"attempt {last.number} counted its checkpoints with {known} to the end"
        return f"epoch_base is {asked}, but {counted}; set epoch_base: {known}"
    return None


def _unfinished(facts: Facts) -> State:
    if not facts.checkpoints and (
        lost := gone(facts.paths.folder, facts.identity, facts.work_dirs, facts.owners)
    ):
        return State("refused", lost)
    last = facts.attempts[-1] if facts.attempts else None
    left = "its supervisor died; if its trainer still runs, the next start follows it"
    how = f"attempt {last.number}: {last.end or left}" if last else "not started"
    why = f" ({last.reason})" if last and last.reason else ""
    more = facts.step.point.iteration - (facts.done if facts.unit == "iteration" else 0) if facts.step else 0
    within = f", {count(more, 'iteration')} more" if facts.step else ""
    where = f"{facts.reached} of {facts.asked} {facts.unit}s trained{within}; {how}{why}"
    # What was not understood then is now, by what the config says since.
    understood = last and last.end == "unfinished" and last.newest_saved < last.asked
    if last and not (understood and facts.done >= facts.asked) and (decision := gave_up(last)):
        return State("stopped", f"needs your decision: {where}; {decision}")
    if trained_to(facts.attempts) >= facts.asked and (last_gone := _last_gone(facts)):
        again = f"put it back, or {facts.unit} {facts.done + 1} and what follows are trained again"
        return State("resumable", f"{where}; warning: {last_gone}; {again}")
    if facts.done >= facts.asked:
        return State("resumable", f"{where}; its last checkpoint is verified at the next start")
    if last is not None and last.end == "done":
        key = KEYS[facts.unit]
        return State("resumable", f"{key} raised from {trained_to(facts.attempts)} to {facts.asked}")
    return State("resumable", where)
