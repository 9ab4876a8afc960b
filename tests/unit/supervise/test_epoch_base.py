"""Trainers that count epochs in either way, killed anywhere: real processes, real checkpoints."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from support.counting import EPOCHS, job_of, trained
from support.supervising import toy_job
from trainrelay.errors import Refusal
from trainrelay.records import AttemptRecord, EpochBases
from trainrelay.supervise import StageJob
from trainrelay.supervise.decide import FINISH
from trainrelay.supervise.resume import resume_point
from trainrelay.training.attempts import list_attempts

pytestmark = pytest.mark.process

PHASES = ("before-save", "after-save")


def holds(job: StageJob, saved: int) -> list[AttemptRecord]:
    """The launch completes, and what is final was saved after the last epoch; no epoch is left out."""
    outcome, epochs, said = trained(job)
    assert outcome.decision == FINISH, said
    final = outcome.final_checkpoint
    assert final is not None
    assert final.epoch == EPOCHS
    templates = Path(str(job.request.config))
    assert Path(final.file.path).read_bytes() == (templates / f"{EPOCHS - saved}.pth").read_bytes()
    assert sorted(set(epochs)) == list(range(1, EPOCHS + 1)), f"trained {epochs}"
    assert max(map(epochs.count, epochs)) <= 2, f"trained {epochs}"
    assert (outcome.epoch_bases.saved or 0) == saved, "what is not known counts as the lower"
    return list(list_attempts(job.stage_dir))


def some(cases: list[tuple[Any, ...]], fast: set[tuple[Any, ...]]) -> list[Any]:
    return [pytest.param(*case, marks=[] if case in fast else pytest.mark.long) for case in cases]


EVERYWHERE = list(itertools.product((0, 1), (0, 1), PHASES, range(1, EPOCHS + 1), ("c.pth", "ep{}.pt")))


@pytest.mark.parametrize(
    ("printed", "saved", "phase", "epoch", "name"),
    some(
        EVERYWHERE,
        {
            (0, 1, "after-save", 1, "c.pth"),
            (0, 0, "before-save", 2, "c.pth"),
            (1, 0, "after-save", 3, "ep{}.pt"),
        },
    ),
)
def test_killed_anywhere_it_trains_every_epoch_and_ends_with_the_last(
    tmp_path: Path, numbered: Path, printed: int, saved: int, phase: str, epoch: int, name: str
) -> None:
    job = job_of(tmp_path, numbered, printed=printed, saved=saved, die=f"{phase}:{epoch}", name=name)
    attempts = holds(job, saved)
    seen = (phase, epoch) == ("after-save", 3)  # where the base is known by then, it is finished
    assert attempts[0].end == "killed" or (seen and attempts[0].end == "done")
    assert attempts[0].last_epoch == epoch, "counted from 1, whatever is printed"


@pytest.mark.parametrize(("saved", "name"), [(0, "c.pth"), (1, "c.pth"), (0, "ep{}.pt"), (1, "ep{}.pt")])
def test_a_training_too_short_to_be_watched_ends_with_its_last_epoch(
    tmp_path: Path, numbered: Path, saved: int, name: str
) -> None:
    holds(job_of(tmp_path, numbered, saved=saved, name=name), saved)


def test_what_the_config_says_is_taken_and_proves_the_resume(tmp_path: Path, numbered: Path) -> None:
    """Said to count finished epochs, a trainer that counts from 0 is found to have resumed elsewhere."""
    job = job_of(tmp_path, numbered, saved=1, die="after-save:2")
    told = replace(job, learns_base=False)
    right = told.with_bases(EpochBases(saved=1))
    wrong = told.with_bases(EpochBases(saved=0))
    outcome, _, _ = trained(replace(wrong, stage_dir=tmp_path / "other"))
    assert outcome.end == "not-resumed"
    for path in job.work_dirs.current.iterdir():
        path.unlink()
    attempts = holds(right, 1)
    assert attempts[-1].resumed_from is not None
    assert attempts[-1].resumed_from.epoch == 2


def test_what_was_learned_holds_for_the_next_attempt(tmp_path: Path, numbered: Path) -> None:
    """Watched while it saved, it is known before the resume, and written down at once."""
    record = toy_job(tmp_path, numbered).stage_dir / "attempts/001/attempt.json"
    job = job_of(tmp_path, numbered, saved=1, die="after-save:2", record=record)
    attempts = holds(job, 1)
    assert [one.epoch_bases for one in attempts] == [EpochBases(printed=0, saved=1)] * 2
    assert attempts[1].resumed_from is not None
    assert attempts[1].resumed_from.epoch == 2


@pytest.mark.parametrize("state", ["torn", "unknown"])
def test_nothing_begins_from_the_start_over_files_that_are_not_understood(
    tmp_path: Path, numbered: Path, state: Literal["torn", "unknown"]
) -> None:
    job = job_of(tmp_path, numbered)
    job.work_dirs.current.mkdir(parents=True)
    data = (numbered / "1.pth").read_bytes()
    (job.work_dirs.current / "net.pt").write_bytes(data[:300] if state == "torn" else b"x")
    with pytest.raises(Refusal, match=r"no checkpoint to resume from.*net\.pt"):
        resume_point(job)
    (job.work_dirs.current / "last.pt").write_bytes(data)
    point, skipped = resume_point(job)
    assert point is not None
    assert Path(point.path).name == "last.pt"
    assert "net.pt" in skipped[0]
