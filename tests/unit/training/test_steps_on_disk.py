"""Step checkpoints on disk: which count, which one is resumed from, which are removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.attempts import an_attempt
from support.step_folders import write_step
from trainrelay.records import StepPoint
from trainrelay.training.step_checkpoints import Continued, altered, read_steps, roll, to_resume_from
from trainrelay_hook import files


def attempt(stage: Path, number: int) -> Path:
    return stage / f"attempts/{number:03d}"


def steps(stage: Path) -> list[tuple[str, int]]:
    return [(one.folder.parts[-3], one.manifest.step) for one in read_steps(stage)[0]]


def test_the_furthest_of_all_attempts_comes_first(tmp_path: Path) -> None:
    """Of one step that of the latest attempt; a folder without a manifest is nothing."""
    for number, step in ((1, 33), (1, 28), (2, 33), (2, 41)):
        write_step(attempt(tmp_path, number), step)
    (attempt(tmp_path, 2) / files.STEPS / files.STEP.format(50)).mkdir()
    (attempt(tmp_path, 2) / files.STEPS / "00000060.tmp-1").mkdir()
    assert steps(tmp_path) == [("002", 41), ("002", 33), ("001", 33), ("001", 28)]
    found, damaged = read_steps(tmp_path)
    assert (damaged, found[0].reached) == ([], (2, 1))
    assert str(found[0].point) == "in epoch 3 after iteration 1 (step 41)"


def test_one_of_a_training_that_counts_iterations_is_as_far_as_they_are(tmp_path: Path) -> None:
    """It has no epoch; the trainer's own of the same iteration holds less, a later one is past it."""
    write_step(attempt(tmp_path, 1), 33, epoch=0, iteration=33)
    (found,), damaged = read_steps(tmp_path)
    assert (damaged, found.reached, str(found.point)) == ([], (33, 0), "after iteration 33")
    own = {after: to_resume_from([found], (after, 0), continued(tmp_path))[0] for after in (30, 33, 34)}
    assert own == {30: found, 33: found, 34: None}
    record = an_attempt(2, epochs=None, iters=40, resumed_step=found.point)
    assert record.began == (0, 33)


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"format": 1}', "[" * 100_000, "x" * 3_000_000, '{"format": 2, "step": 33}', "null"],
)
def test_a_manifest_that_is_damaged_is_a_sentence(tmp_path: Path, content: str) -> None:
    folder = write_step(attempt(tmp_path, 1), 33)
    (folder / files.MANIFEST).write_text(content)
    found, damaged = read_steps(tmp_path)
    assert found == []
    assert len(damaged) == bool(content)
    assert all(f"{folder} is damaged: its manifest" in one for one in damaged)


@pytest.mark.parametrize(
    "lie",
    [
        {"step": 34},
        {"epoch": 0},
        {"iteration": -1},
        {"saved_s": 1e300},
        {"files": {}},
        {"files": {"../../attempt.json": {"bytes": 1, "sha256": "0" * 64}}},
        {"files": {"model.pt": {"bytes": -1, "sha256": "0" * 64}}},
        {"files": {"model.pt": {"bytes": 1, "sha256": "no"}}},
    ],
)
def test_a_manifest_that_lies_is_a_sentence(tmp_path: Path, lie: dict[str, object]) -> None:
    folder = write_step(attempt(tmp_path, 1), 33)
    moved = write_step(attempt(tmp_path, 2), 33, **lie)
    (folder / files.MANIFEST).write_bytes((moved / files.MANIFEST).read_bytes())
    found, damaged = read_steps(tmp_path)
    assert (found, len(damaged)) == ([], 2)


def test_neither_a_pipe_nor_a_link_holds_us_up(tmp_path: Path) -> None:
    folder = write_step(attempt(tmp_path, 1), 33)
    (folder / files.MANIFEST).unlink()
    os.mkfifo(folder / files.MANIFEST)
    other = write_step(attempt(tmp_path, 1), 34)
    (other / files.MANIFEST).rename(tmp_path / "elsewhere")
    (other / files.MANIFEST).symlink_to(tmp_path / "elsewhere")
    assert read_steps(tmp_path) == ([], [])


def test_a_file_that_is_cut_short_or_gone_makes_it_incomplete(tmp_path: Path) -> None:
    short, gone = write_step(attempt(tmp_path, 1), 33), write_step(attempt(tmp_path, 1), 34)
    (short / "rank-1.pt").write_bytes(b"r")
    (gone / files.MODEL).unlink()
    found, damaged = read_steps(tmp_path)
    assert found == []
    assert [one for one in damaged if f"{short} is not complete: rank-1.pt" in one]
    assert [one for one in damaged if f"{gone} is not complete: {files.MODEL}" in one]


CODE = "c0ffee"


def continued(stage: Path, **changes: object) -> Continued:
    attempts = [an_attempt(number, code=CODE) for number in (1, 2)]
    plain = {"attempts": attempts, "world_size": 2, "exact": False, "code": CODE, "hook": True}
    return Continued(**{**plain, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"world_size": 4}, "is of 2 ranks, not of 4"),
        ({"exact": True}, "was saved with exact: false"),
        ({"code": "bad"}, "was saved by the trainer's code c0ffee, and that is bad now"),
        ({"hook": False}, "needs the hook, and `hook` is off"),
        ({"attempts": []}, "was saved by the trainer's code (unknown)"),
    ],
)
def test_what_is_of_another_training_is_passed_over_with_the_reason(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    folder = write_step(attempt(tmp_path, 2), 33)
    chosen, passed = to_resume_from(read_steps(tmp_path)[0], (0, 0), continued(tmp_path, **changes))
    assert (chosen, len(passed)) == (None, 1)
    assert f"the step checkpoint {folder} {why}" in passed[0]


def test_one_that_the_trainers_own_checkpoint_is_past_is_not_looked_at(tmp_path: Path) -> None:
    write_step(attempt(tmp_path, 1), 33)
    found, _ = read_steps(tmp_path)
    assert to_resume_from(found, (2, 0), continued(tmp_path)) == (None, [])
    assert to_resume_from(found, (1, 0), continued(tmp_path)) == (found[0], [])


def test_that_of_an_epochs_end_holds_more_than_the_trainers_own(tmp_path: Path) -> None:
    """The random states, say; and it says where the training continues."""
    write_step(attempt(tmp_path, 1), 40)
    found, _ = read_steps(tmp_path)
    assert to_resume_from(found, (2, 0), continued(tmp_path)) == (found[0], [])
    assert to_resume_from(found, (3, 0), continued(tmp_path)) == (None, [])
    assert str(found[0].point) == "at the end of epoch 2 (step 40)"
    assert (found[0].point.epoch, found[0].point.iteration) == (3, 0)


def test_one_whose_content_changed_gives_way_to_the_one_before(tmp_path: Path) -> None:
    """A bit that the disk turned leaves the size as it was."""
    folder, before = write_step(attempt(tmp_path, 1), 33), write_step(attempt(tmp_path, 1), 28)
    content = (folder / "rank-1.pt").read_bytes()
    (folder / "rank-1.pt").write_bytes(bytes([content[0] ^ 1]) + content[1:])
    chosen, passed = to_resume_from(read_steps(tmp_path)[0], (0, 0), continued(tmp_path), altered)
    assert chosen is not None
    assert chosen.folder == before
    assert "the sha256 of rank-1.pt is not that of its manifest" in passed[0]


def test_one_that_the_hook_refused_is_not_tried_again(tmp_path: Path) -> None:
    """Also where the stage's folder was moved since; without the hook nothing was refused."""
    folder = write_step(attempt(tmp_path, 1), 33)
    point = StepPoint(path="/elsewhere/attempts/001/steps/00000033", step=33, epoch=2, iteration=13)
    tried = an_attempt(2, code=CODE, resumed_step=point, not_resumed="its sampler is another one")
    first = an_attempt(1, code=CODE)
    found, _ = read_steps(tmp_path)
    _, passed = to_resume_from(found, (0, 0), continued(tmp_path, attempts=[first, tried]))
    assert passed == [f"the step checkpoint {folder} was refused in attempt 2 (its sampler is another one)"]
    unhooked = tried.model_copy(update={"hook": "the hook did not attach"})
    assert to_resume_from(found, (0, 0), continued(tmp_path, attempts=[first, unhooked]))[0] == found[0]


def test_the_newest_of_all_attempts_stay(tmp_path: Path) -> None:
    """Those of the running attempt are its hook's to remove."""
    for number, step in ((1, 28), (1, 33), (2, 41), (3, 50), (3, 52), (3, 54)):
        write_step(attempt(tmp_path, number), step)
    half = attempt(tmp_path, 2) / files.STEPS / files.STEP.format(45)
    half.mkdir()
    roll(tmp_path, keep=2, running=3)
    assert steps(tmp_path) == [("003", 54), ("003", 52), ("003", 50)]
    assert not half.exists()
    roll(tmp_path, keep=2)
    assert steps(tmp_path) == [("003", 54), ("003", 52)]
    roll(tmp_path, keep=0)
    assert steps(tmp_path) == []


def test_an_older_one_stays_until_there_are_newer_whole_ones(tmp_path: Path) -> None:
    write_step(attempt(tmp_path, 1), 33)
    damaged = write_step(attempt(tmp_path, 2), 41)
    (damaged / files.MODEL).unlink()
    (attempt(tmp_path, 2) / files.STEPS / files.STEP.format(45)).mkdir()
    roll(tmp_path, keep=1, running=2)
    assert steps(tmp_path) == [("001", 33)]
    write_step(attempt(tmp_path, 2), 46)
    roll(tmp_path, keep=1, running=2)
    assert steps(tmp_path) == [("002", 46)]


def test_what_a_later_attempt_passed_over_does_not_count_as_past_its_own(tmp_path: Path) -> None:
    """Else a resume would lose the step checkpoint that it begins with: the code had changed after 190."""
    for number, step in ((1, 180), (1, 190), (2, 140), (2, 150)):
        write_step(attempt(tmp_path, number), step)
    roll(tmp_path, keep=2, running=3)
    assert steps(tmp_path) == [("001", 190), ("001", 180), ("002", 150), ("002", 140)]
    for step in (195, 198):
        write_step(attempt(tmp_path, 3), step)
    roll(tmp_path, keep=2, running=3)
    assert steps(tmp_path) == [("003", 198), ("003", 195)]


def test_what_is_not_a_step_is_left_alone(tmp_path: Path) -> None:
    folder = attempt(tmp_path, 1) / files.STEPS
    (folder / "mine").mkdir(parents=True)
    roll(tmp_path, keep=0)
    assert (folder / "mine").is_dir()
