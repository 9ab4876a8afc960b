"""Where an attempt starts, and the proof that the trainer did start there."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from trainrelay.checkpoint import how_to_allow, stamp_of, without_digits
from trainrelay.errors import Refusal
from trainrelay.records import AttemptRecord, Identity, ResumePoint, StepPoint
from trainrelay.supervise.decide import Leftovers, nothing_to_resume_from
from trainrelay.supervise.job import StageJob
from trainrelay.system.files import copy_durably, make_folder, read_record, unused, written_or_explained
from trainrelay.text import printable, quoted
from trainrelay.trainers import Follower, Observation, ResumeSeen, Trainer
from trainrelay.training.attempts import attempt_log, list_attempts
from trainrelay.training.owners import owner_of
from trainrelay.training.step_checkpoints import Continued, altered, read_steps, to_resume_from
from trainrelay.training.work_dir_problems import given_up, gone

_MOST = 3  # files, and lines of each kind: enough to recognise them, and one sentence
_ALONE = "holds weights without an epoch or an optimizer"
_DAMAGED = "trainrelay.damaged"  # in a work dir, of folders
_LINE_CHARS = 120  # about a terminal's line
_HEAD_BYTES = 256 * 1024  # of the log: thousands of lines
_BANNER = re.compile(r"torch[./]distributed[./]run|^\*+$|^Setting OMP_NUM_THREADS")  # torch's own first lines


class NoneValid(Refusal):
    """There are checkpoints, and none is valid."""


def starting_points(job: StageJob) -> tuple[ResumePoint | None, StepPoint | None, list[str]]:
    """What the trainer resumes from, where the hook continues past that, and what was passed over.

    Refusal as `resume_point`, but a step checkpoint continues a training whose others are all damaged.
    """
    refused: NoneValid | None = None
    try:
        point, skipped = resume_point(job)
    except NoneValid as refusal:
        point, skipped, refused = None, [str(refusal)], refusal
    found, damaged = read_steps(job.stage_dir)
    exact = job.steps is not None and job.steps.exact
    continued = Continued(list_attempts(job.stage_dir), job.world_size, exact, job.code, job.hook)
    step, passed = to_resume_from(found, (point.done if point else 0, 0), continued, altered)
    if step is None and refused:
        raise refused
    return point, step.point if step else None, [*skipped, *damaged, *passed]


def resume_point(job: StageJob) -> tuple[ResumePoint | None, list[str]]:
    """The newest valid checkpoint of this stage, None if it has none, and what was passed over.

    Refusal if checkpoints exist but none is valid, or none is understood: starting from scratch would lose
    the work silently.
    """
    candidates, dirs = job.checkpoints(), job.dirs()
    damaged = [f"{printable(str(path))} {why}" for path, why in job.unrecognised()]
    if not candidates:
        if damaged:
            newest = next(reversed(list_attempts(job.stage_dir)), None)
            nothing = nothing_to_resume_from(leftovers(job, newest))
            raise Refusal(f"{job.name}: {nothing.reason}; {nothing.what_to_do}")
        owners = {folder: owner_of(folder) for folder in job.work_dirs.all}
        identity = read_record(job.stage_dir / "stage.json", Identity)
        if lost := gone(job.stage_dir, identity, dirs, owners):
            raise Refusal(f"{job.name}: {lost}")
        return None, []
    facts, skipped = dirs.newest_valid(job.trainer)
    if facts is None:
        raise NoneValid(_none_valid(job, candidates, [*skipped, *damaged]))
    count = facts.done(job.trainer.unit)
    assert count is not None, "a valid checkpoint knows its epoch or iteration"
    if problem := job.two_networks(count):
        raise Refusal(f"{job.name}: {problem}")
    within = dirs.within(Path(facts.file.path)) is not None
    point = ResumePoint(path=facts.file.path, epoch=facts.epoch, iteration=facts.iteration, within=within)
    saved = max((one.newest_saved for one in dirs.attempts), default=0)
    if saved > max(epoch for epoch, _ in candidates):
        skipped.append(f"the checkpoint of {job.trainer.unit} {saved}, which is not there any more")
    return point, [*skipped, *damaged]


def set_aside(job: StageJob, path: Path) -> str:
    """Renames what the trainer would choose, choke on or write over; what was done.

    A folder leaves those of the others: trainers that keep their newest few count it and remove a valid one.
    """
    home = next((one for one in job.work_dirs.all if one in path.parents), path.parent)
    beside = home / _DAMAGED / path.name if path.is_dir() else path
    make_folder(beside.parent)
    with written_or_explained(aside := unused(beside, "damaged")):
        path.rename(aside)
    to = printable(str(aside.relative_to(path.parent if aside.parent == path.parent else home)))
    return f"renamed {printable(str(path))} to {to}: it is not resumed from"


def prepared(job: StageJob, point: ResumePoint | None) -> list[str]:
    """Makes the work dir what its trainer can resume in, and save to; what was done."""
    if point is None or (job.trainer.takes_checkpoint and not job.trainer.saves_folders):
        return []
    return _folders_aside(job, point) if job.trainer.takes_checkpoint else lay_out(job, point)


def _folders_aside(job: StageJob, point: ResumePoint) -> list[str]:
    """Renames what is behind the resume point: what is saved again does not mix with what a kill left, and
    some trainers save to no folder that is there. What is called otherwise, as an export, is no such."""
    folder = job.trainer.saves_in(job.work_dirs.current)
    seen = {path: job.trainer.glance(path) for path, _ in job.unrecognised()}
    counted = job.checkpoints()
    series = {without_digits(path) for _, path in counted}
    alike = ((path, one) for path, one in seen.items() if without_digits(path) in series)
    # What cannot be looked at now has no time.
    cut = [path for path, one in alike if one.cut_short or (one.number is None and one.stamp[2])]
    numbered = [path for path in cut if any(map(str.isdecimal, path.name))]
    later = [path for count, path in counted if count > (point.done or 0)]
    behind = (path for path in dict.fromkeys((*later, *numbered)) if path.parent == folder)
    return [set_aside(job, path) for path in behind if path != Path(point.path)]


def lay_out(job: StageJob, point: ResumePoint) -> list[str]:
    """Makes the resume point what a trainer finds that looks for its newest checkpoint itself; what was done.

    Files of the work dir that are later, or cut short, are renamed.
    """
    work_dir, source = job.work_dirs.current, Path(point.path)
    folder = job.trainer.saves_in(work_dir)
    found = job.checkpoints()
    later = [path for count, path in found if count > (point.done or 0) or path.name == source.name]
    torn = [path for path, _ in job.trainer.unrecognised(work_dir) if job.trainer.is_called_so(path)]
    done = []
    for path in dict.fromkeys((*later, *torn)):
        if path.parent == folder and path != source:
            done.append(set_aside(job, path))
    if (target := folder / source.name) != source and not target.exists():
        saved_ns = stamp_of(source)[2]
        make_folder(folder)
        copy_durably(source, target)
        os.utime(target, ns=(saved_ns, saved_ns))  # by it an attempt's record knows the file
        done.append(f"copied {printable(str(source))} to {printable(str(folder))}, where the trainer looks")
    return done


def _none_valid(job: StageJob, candidates: Sequence[tuple[int, Path]], skipped: Sequence[str]) -> str:
    folders = dict.fromkeys(path.parent for _, path in candidates)
    return (
        f"{job.name}: none of the {len(candidates)} checkpoints in {', '.join(map(str, folders))} is valid"
        f" ({'; '.join(skipped[:3])}). Starting from scratch would lose that training:"
        f" put a valid checkpoint back, or give it up with: {given_up(job.stage_dir, job.work_dirs)}"
    )


def leftovers(job: StageJob, record: AttemptRecord | None) -> Leftovers:
    """The files that were not understood, and what to do; where that is not known, what was looked for, and
    the first lines of the log."""
    files = job.unrecognised()
    seen = {path: job.trainer.glance(path) for path in job.trainer.saved(job.work_dirs.current)}
    bare = {path: one for path, one in seen.items() if path not in dict(files) and one.number is None}
    alone = [(path, _ALONE + one.numbers) for path, one in bare.items() if not one.problem]
    files, unrecognised = [*files, *alone], bool(files)
    glances = [job.trainer.glance(path) for path, _ in files]
    words = f"{job.work_dirs.current} holds {_listed(files, job.work_dirs.current)}"
    remedy = how_to_allow({name: None for one in glances for name in one.classes})
    again = next((f"{one.remedy} (and so with each)" for one in glances if one.remedy), None)
    log = attempt_log(job.stage_dir, record) if record else None
    if not (remedy or again):
        words = f"{words}; looked for: {job.trainer.looked_for}"
        words = f"{words}; {_lines(job.trainer, log)}" if log and log.is_file() else words
    return Leftovers(unrecognised, words, tuple(path for path, _ in files), remedy or again)


def _listed(files: Sequence[tuple[Path, str]], folder: Path) -> str:
    """Files with why they are none; what holds for several is there once."""
    by_reason: dict[str, list[str]] = {}
    for path, why in files:
        by_reason.setdefault(why, []).append(os.path.relpath(path, folder))
    of = ((names[:_MOST], len(names[_MOST:]), quoted(why)) for why, names in [*by_reason.items()][:_MOST])
    said = (f"{', '.join(few)}{f' and {more} more' if more else ''} ({why})" for few, more, why in of)
    more = sum(map(len, [*by_reason.values()][_MOST:]))
    return ", ".join(said) + (f" and {more} more" if more else "") or "no file that looks like a checkpoint"


def _lines(trainer: Trainer, log: Path) -> str:
    """The first output lines that tell the progress, and that do not."""
    with log.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode(errors="replace").replace("\r", "\n")
    understood: list[str] = []
    others: list[str] = []
    follower = Follower(trainer)
    for line in (line for line in head.split("\n") if line.strip() and not _BANNER.search(line)):
        (understood if follower.see(line) else others).append(quoted(line)[:_LINE_CHARS])
    return f"lines that tell its progress: {_first(understood)}; others: {_first(others)}"


def _first(lines: list[str]) -> str:
    return " | ".join(f"`{line}`" for line in lines[:_MOST]) or "none"


class ResumeProof:
    """Whether the trainer's own words prove the resume that it was asked for.

    A trainer can ignore a resume silently and start from zero; then its first progress line comes without
    the line that says where it resumed, or, for trainers that have no such line (`by_epoch`), is of another
    epoch than the one after the resume point; also the next one, as long as the `epoch_base` is not known,
    but not the first again if a line of a later one was seen (`reached`). Of a training that counts
    iterations, any line proves it that is not before the resume point: how many there are to the next line is
    not known.
    """

    def __init__(
        self, asked: ResumePoint | None, *, by_epoch: bool = False, base_known: bool = True, reached: int = 0
    ) -> None:
        self._asked = asked
        self._by_epoch = by_epoch
        sure = base_known or bool(asked and asked.within)
        self._most, self._first_done = (1, False) if sure else (2, reached > 1)
        self._pending = asked is not None

    def see(self, seen: Observation) -> str | None:
        """The sentence that says what is wrong, once something is."""
        if not self._pending or self._asked is None:
            return None
        point, by_iteration = self._asked, self._asked.epoch is None
        within = f" (saved within epoch {point.done + 1})" if point.within else ""
        asked = f"asked to resume after {point}{within}"
        if isinstance(seen, ResumeSeen):
            self._pending = False
            at = f"iteration {seen.iteration}" if by_iteration else f"epoch {seen.epoch}"
            # IterBasedRunner saves one less than it has done, and does that iteration again.
            same = 0 <= point.done - seen.iteration <= 1 if by_iteration else seen.epoch == point.done
            return None if same else f"{asked}, but resumed after {at} ({point.path})"
        first_again = seen.epoch == 1 and self._first_done and not by_iteration
        proved = 1 <= seen.epoch - point.done <= self._most and not first_again
        if self._by_epoch and (seen.iteration >= point.done if by_iteration else proved):
            self._pending = False
            return None
        hint = "; if it was saved within the first epoch, set epoch_base: 0" if first_again else ""
        return f"{asked} from {point.path}, but trained {seen.place} without having resumed{hint}"

    def missing(self) -> str | None:
        """For the end of a training that went well: that the proof never came."""
        if not self._pending or self._asked is None:
            return None
        return f"asked to resume from {self._asked.path}, and no line of its log shows whether it did"
