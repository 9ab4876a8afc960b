"""Checkpoints that a trainer saves in the midst of an epoch: none of them finishes it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.attempts import an_attempt
from support.counting import EPOCHS, job_of, trained
from trainrelay.checkpoint import Glance
from trainrelay.records import EpochBases, ResumePoint
from trainrelay.supervise import StageJob
from trainrelay.supervise.attempt_end import finished_unseen
from trainrelay.supervise.attempt_folders import open_attempt, write_attempt
from trainrelay.supervise.decide import FINISH
from trainrelay.supervise.epoch_counting import EpochCounting
from trainrelay.supervise.resume import ResumeProof, resume_point
from trainrelay.trainers import StepSeen
from trainrelay.training.attempts import list_attempts

MID = "c{}_mid.pth"
KNOWN = EpochBases(printed=0, saved=1)


def mid_epoch_job(folder: Path, templates: Path, *, known: bool, **said: Any) -> StageJob:
    whole = {"name": "c{}.pth", "mid": MID, "iterations": 6, "saved": 1, **said}
    job = job_of(folder, templates, **whole)
    return job.with_bases(EpochBases(saved=1)) if known else job


def points(job: StageJob) -> list[tuple[str, int] | None]:
    """Where each attempt began."""
    found = (one.resumed_from for one in list_attempts(job.stage_dir))
    return [point and (Path(point.path).name, point.epoch) for point in found]


# ---------------------------------------------------------------------- real processes


@pytest.mark.process
@pytest.mark.parametrize("known", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_crash_in_the_last_epoch_is_not_finished_by_what_was_saved_within_it(
    tmp_path: Path, numbered: Path, known: bool
) -> None:
    """The epoch is trained again, from the one before."""
    job = mid_epoch_job(tmp_path, numbered, known=known, die=f"within:{EPOCHS}", pause=0.15)
    outcome, epochs, said = trained(job)
    assert outcome.decision == FINISH, said
    assert epochs == [1, 2, 3, 3]
    assert points(job) == [None, ("c2.pth", 2)]
    final = outcome.final_checkpoint
    assert final is not None
    assert Path(final.file.path).name == "c3.pth"


@pytest.mark.process
@pytest.mark.parametrize(
    ("known", "inside"),
    [(True, 1), (False, 0), *(pytest.param(*one, marks=pytest.mark.long) for one in ((True, 0), (False, 1)))],
)
def test_a_whole_epoch_is_resumed_from_where_there_is_one(
    tmp_path: Path, numbered: Path, known: bool, inside: int
) -> None:
    """Also by a trainer that could resume within an epoch."""
    job = mid_epoch_job(tmp_path, numbered, known=known, die="within:2", inside=inside)
    outcome, epochs, said = trained(job)
    assert outcome.decision == FINISH, said
    assert (epochs, [point and point[0] for point in points(job)]) == ([1, 2, 2, 3], [None, "c1.pth"])


@pytest.mark.process
@pytest.mark.parametrize("known", [True, False])
def test_else_it_resumes_within_the_epoch_and_proves_it(tmp_path: Path, numbered: Path, known: bool) -> None:
    job = mid_epoch_job(tmp_path, numbered, known=known, die="within:1", inside=1)
    outcome, epochs, said = trained(job)
    assert outcome.decision == FINISH, said
    assert (epochs, points(job)) == ([1, 1, 2, 3], [None, ("c1_mid.pth", 0)])
    assert outcome.epoch_bases.saved == 1


@pytest.mark.process
@pytest.mark.parametrize("known", [pytest.param(True, marks=pytest.mark.long), False])
def test_a_trainer_that_would_leave_out_the_rest_of_the_epoch_is_stopped(
    tmp_path: Path, numbered: Path, known: bool
) -> None:
    job = mid_epoch_job(tmp_path, numbered, known=known, die="within:1")
    outcome, _, said = trained(job)
    assert outcome.end == "not-resumed", said
    assert "saved within epoch 1" in (outcome.reason or "")


@pytest.mark.process
@pytest.mark.parametrize("status", [0, 1])
def test_a_training_that_ends_well_is_finished_whatever_its_exit_status(
    tmp_path: Path, numbered: Path, status: int
) -> None:
    job = mid_epoch_job(tmp_path, numbered, known=True, status=status)
    outcome, epochs, said = trained(job)
    assert outcome.decision == FINISH, said
    assert (epochs, points(job)) == ([1, 2, 3], [None])


# ---------------------------------------------------------------------- an end that nobody saw


def left(folder: Path, templates: Path, iteration: int, name: str = MID) -> StageJob:
    """A training whose trainer and supervisor were killed in epoch 3 after some of 6 iterations."""
    job = mid_epoch_job(folder, templates, known=True)
    record = an_attempt(1, epochs=EPOCHS, epoch_bases=KNOWN, ended_s=None)
    (job.stage_dir / "attempts").mkdir(parents=True)
    open_attempt(job.stage_dir, record)
    write_attempt(job.stage_dir, record.model_copy(update={"end": "lost", "reason": "x"}))
    places = [(e, i) for e in (1, 2) for i in range(1, 7)] + [(3, i) for i in range(1, iteration + 1)]
    lines = (f"Epoch: [{e - 1}]  [{i - 1}/6]  eta: 0:00:01  loss: 1.0 (1.0)\n" for e, i in places)
    (job.stage_dir / "attempts/001/trainer.log").write_text("".join(lines))
    job.work_dirs.current.mkdir(parents=True)
    for epoch, file in ((1, "c1.pth"), (2, "c2.pth"), (3, name.format(3))):
        shutil.copyfile(templates / f"{epoch - 1}.pth", job.work_dirs.current / file)
    return job


def test_an_unseen_end_within_the_last_epoch_is_none(tmp_path: Path, numbered: Path) -> None:
    job = left(tmp_path, numbered, 3)
    assert finished_unseen(job) is None
    point, _ = resume_point(job)
    assert point is not None
    assert (Path(point.path).name, point.epoch) == ("c2.pth", 2)


@pytest.mark.parametrize("iteration", [5, 6])
def test_an_unseen_end_after_the_last_epoch_is_one(tmp_path: Path, numbered: Path, iteration: int) -> None:
    """A trainer may save before it prints the last line of an epoch."""
    found = finished_unseen(left(tmp_path, numbered, iteration, "c3.pth"))
    assert found is not None
    assert found.end == "done"


@pytest.mark.parametrize("status", [0, 1])
def test_checkpoints_that_the_config_explains_later_tell_at_the_next_start_how_they_count(
    tmp_path: Path, numbered: Path, status: int
) -> None:
    """Trained to its end, it was counted by nobody: its files were not understood."""
    job = replace(left(tmp_path, numbered, 6, "c3.pth"), learns_base=True).with_bases(EpochBases())
    (record,) = list_attempts(job.stage_dir)
    unknown = {"epoch_bases": EpochBases(printed=0), "exit_status": status, "end": "unfinished"}
    write_attempt(job.stage_dir, record.model_copy(update=unknown))
    found = finished_unseen(job)
    assert (found and (found.end, found.epoch_bases.saved)) == (None if status else ("done", 1))


def test_a_copy_of_what_is_overwritten_counts_as_the_file_itself(tmp_path: Path, numbered: Path) -> None:
    """Also where the file has been written again since, or is cut short."""
    job = left(tmp_path, numbered, 3, "c.pth")
    kept = job.work_dirs.kept
    assert kept is not None
    kept.mkdir(parents=True)
    shutil.copy2(job.work_dirs.current / "c.pth", kept / "c.pth")
    shutil.copyfile(numbered / "2.pth", job.work_dirs.current / "c.pth")
    assert finished_unseen(job) is None
    assert [epoch for epoch, _ in job.checkpoints()] == [2, 2, 2, 1]


# ---------------------------------------------------------------------- what the log shows


class Seen:
    """What a supervisor sees, one look after another; each file says the epoch in which it is saved."""

    def __init__(self, per_epoch: int = 6, bases: EpochBases = KNOWN) -> None:
        self.counting = EpochCounting(an_attempt(1, epoch_bases=bases), learns=False)
        self.files: dict[Path, Glance] = {}
        self.per_epoch, self.writes = per_epoch, 0
        self.look()

    def line(self, epoch: int, iteration: int, per_epoch: int | None = None) -> None:
        self.counting.step(StepSeen(epoch, iteration, per_epoch or self.per_epoch, 1.0, None))
        self.look()

    def lines(self, epoch: int, *iterations: int) -> None:
        for iteration in iterations:
            self.line(epoch, iteration)

    def save(self, name: str, epoch: int) -> None:
        self.writes += 1
        self.files = {**self.files, Path(name): Glance((1, 1, self.writes), epoch - 1)}
        for _ in range(2):
            self.look()

    def look(self) -> None:
        self.counting.look(self.files)

    def end(self, status: int = 1) -> dict[int, int]:
        self.counting.finish(self.files, 3 if status == 0 else None)
        return self.counting.within


def test_a_line_of_the_same_epoch_after_a_save_shows_it() -> None:
    seen = Seen()
    seen.lines(1, 1, 2)
    seen.save("mid.pth", 1)
    assert seen.counting.within == {}
    seen.lines(1, 3, 4, 5, 6)
    assert seen.counting.within == {1: 1}
    seen.save("whole.pth", 1)
    seen.lines(2, 1, 2, 3, 4, 5, 6)
    assert seen.end() == {1: 1}


def test_an_end_within_an_epoch_shows_it_but_for_a_trainer_that_says_it_is_done() -> None:
    for status, found in ((1, {1: 1}), (0, {})):
        seen = Seen()
        seen.lines(1, 1, 2)
        seen.save("mid.pth", 1)
        assert seen.end(status) == found


def test_a_save_before_the_last_line_of_its_epoch_is_whole() -> None:
    """Whatever comes between the two."""
    seen = Seen()
    seen.lines(1, 1, 2, 3, 4, 5)
    seen.save("whole.pth", 1)
    assert dict(seen.end()) == {}
    seen.lines(1, 6)
    assert seen.end() == {}


@pytest.mark.parametrize("printed", [(1,), (1, 11, 21), (10, 20), (1, 16)])
def test_a_trainer_that_does_not_print_the_last_iteration_saves_whole_epochs(
    printed: tuple[int, ...],
) -> None:
    """Every so often a line, and none for the rest of the 30 iterations."""
    seen = Seen(per_epoch=30)
    for epoch in (1, 2, 3):
        seen.lines(epoch, *printed)
        seen.save(f"{epoch}.pth", epoch)
    assert seen.end() == {}


def test_lines_of_an_evaluation_that_look_alike_are_not_within_the_epoch() -> None:
    seen = Seen()
    seen.lines(1, 1, 2, 3, 4, 5, 6)
    seen.save("whole.pth", 1)
    for iteration in (1, 2, 3):
        seen.line(1, iteration, per_epoch=20)
    assert seen.end() == {}


def test_lines_of_another_rank_that_is_behind_are_not_either() -> None:
    seen = Seen()
    seen.lines(1, 1, 1, 2, 2, 3, 3, 4, 5, 6)
    seen.save("whole.pth", 1)
    seen.lines(1, 4, 5)
    seen.lines(2, 1)
    seen.lines(1, 3, 4)
    assert seen.end() == {}
    seen = Seen()
    seen.lines(1, 1, 2, 3, 4, 5)
    seen.save("whole.pth", 1)
    seen.lines(1, 4, 5, 6)
    assert seen.end() == {}


def test_a_trainer_that_counts_finished_epochs_saves_nothing_that_is_wrong() -> None:
    """Saved within epoch 2 with the number 1: one epoch is finished."""
    seen = Seen(bases=EpochBases(printed=0, saved=0))
    seen.lines(2, 1, 2)
    seen.save("mid.pth", 2)
    seen.lines(2, 3, 4)
    assert seen.end() == {}


def test_what_an_earlier_supervisor_saw_is_kept() -> None:
    begun = an_attempt(1, epoch_bases=KNOWN, within={7: 2})
    assert EpochCounting(begun, learns=True).within == {7: 2}


def test_a_point_within_an_epoch_is_proved_by_that_epoch_alone() -> None:
    point = ResumePoint(path="/w/mid.pth", epoch=1, within=True)
    for base_known in (True, False):
        proofs = [ResumeProof(point, by_epoch=True, base_known=base_known) for _ in range(3)]
        said = [proof.see(StepSeen(epoch, 3, 6, 1.0, None)) for epoch, proof in enumerate(proofs, 1)]
        assert said[1] is None
        assert "saved within epoch 2" in (said[0] or "")
        assert "saved within epoch 2" in (said[2] or "")


def test_our_copy_has_the_time_of_what_it_copies(tmp_path: Path, numbered: Path) -> None:
    from trainrelay.supervise.checkpoint_keeper import CheckpointKeeper  # noqa: PLC0415

    job = mid_epoch_job(tmp_path, numbered, known=True)
    job.work_dirs.current.mkdir(parents=True)
    saved = job.work_dirs.current / "c.pth"
    shutil.copyfile(numbered / "1.pth", saved)
    os.utime(saved, ns=(5, 5))
    job.stage_dir.mkdir(parents=True)
    keeper = CheckpointKeeper(job, print)
    keeper.look()
    assert job.work_dirs.kept is not None
    assert (job.work_dirs.kept / "c.pth").stat().st_mtime_ns == 5


@given(st.data())
def test_whatever_a_trainer_prints_and_wherever_it_ends_no_whole_epoch_is_thrown_away(
    data: st.DataObject,
) -> None:
    """It prints every so many iterations, the last of an epoch or not, saves before that line or after it."""
    per_epoch, every = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 6))
    prints_last, before = data.draw(st.booleans()), data.draw(st.booleans())
    mid = set() if before else data.draw(st.sets(st.integers(1, per_epoch)))
    happens: list[tuple[str, int, int]] = []
    for epoch, i in ((e, i) for e in (1, 2, 3) for i in range(1, per_epoch + 1)):
        last = i == per_epoch
        happens += [("whole", epoch, i)] if last and before else []
        happens += [("line", epoch, i)] if (i - 1) % every == 0 or (last and prints_last) else []
        happens += [("mid", epoch, i)] if i in mid and not last else []
        happens += [("whole", epoch, i)] if last and not before else []
    seen, whole = Seen(per_epoch), set()
    looks = data.draw(st.sets(st.integers(0, len(happens))))
    for number, (what, epoch, i) in enumerate(happens[: data.draw(st.integers(0, len(happens)))]):
        if what == "line":
            seen.counting.step(StepSeen(epoch, i, per_epoch, 1.0, None))
        else:
            seen.writes += 1
            seen.files = {**seen.files, Path(f"{what}{seen.writes}"): Glance((1, 1, seen.writes), epoch - 1)}
            whole |= {seen.writes} if what == "whole" else set()
        for _ in range(2 if number in looks else 0):
            seen.look()
    assert not whole & seen.end().keys(), happens
