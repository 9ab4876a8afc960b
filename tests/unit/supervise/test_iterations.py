"""What a training by iterations proves of its resume, and what its checkpoints hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainrelay.checkpoint import SavedAs, glance, inspect
from trainrelay.records import ResumePoint
from trainrelay.supervise.resume import ResumeProof
from trainrelay.trainers import ResumeSeen, StepSeen

POINT = ResumePoint(path="/w/ckpt.pt", epoch=None, iteration=20)


def step(iteration: int) -> StepSeen:
    return StepSeen(1, iteration, 40, 0.5, None, by_iteration=True)


@pytest.mark.parametrize("first", [20, 21, 30])
def test_a_first_line_that_is_not_before_the_resume_point_proves_it(first: int) -> None:
    proof = ResumeProof(POINT, by_epoch=True)
    assert proof.see(step(first)) is None
    assert proof.missing() is None


def test_a_start_from_zero_is_told() -> None:
    said = ResumeProof(POINT, by_epoch=True).see(step(0))
    assert said == (
        "asked to resume after iteration 20 from /w/ckpt.pt, but trained iteration 0 without having resumed"
    )


@pytest.mark.parametrize(("iteration", "proves"), [(20, True), (19, True), (18, False), (21, False)])
def test_a_line_that_says_where_it_resumed_proves_that(iteration: int, proves: bool) -> None:
    """mmcv's IterBasedRunner says one less; without its line, no other proves a resume."""
    proof = ResumeProof(POINT)
    assert (proof.see(ResumeSeen(1, iteration)) is None) is proves
    said = ResumeProof(POINT).see(step(20))
    assert said
    assert said.endswith("but trained iteration 20 without having resumed")


@pytest.mark.parametrize("key", ["iteration", "iter_num", "step", "global_step", "iter"])
def test_the_count_is_read_from_the_file(tmp_path: Path, key: str) -> None:
    """Also as a tensor; an epoch beside it is not what the training counts."""
    weights = {"model": {"fc.weight": torch.ones(2, 2)}, "optimizer": {"state": {}, "param_groups": []}}
    torch.save({**weights, "epoch": 3, key: torch.tensor(70)}, tmp_path / "a.pt")
    assert glance(tmp_path / "a.pt", SavedAs("iteration")).number == 70
    facts = inspect(tmp_path / "a.pt", saved=SavedAs("iteration"))
    assert (facts.epoch, facts.iteration, facts.done("iteration")) == (None, 70, 70)
    torch.save(weights, tmp_path / "b.pt")
    assert glance(tmp_path / "b.pt", SavedAs("iteration")).problem == "lacks iteration"
    assert glance(tmp_path / "b.pt", SavedAs("iteration", 7)).number == 7
