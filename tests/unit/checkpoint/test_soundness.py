"""Choosing the checkpoint to resume from, and judging the final one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainrelay.checkpoint import inspect, newest_valid, verify
from trainrelay.errors import CheckpointError

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def epochs(tmp_path: Path, mmcv_style: Make) -> Callable[..., list[tuple[int, Path]]]:
    """Saves sound checkpoints of epochs 1 to n, and lists them newest first."""

    def save(count: int) -> list[tuple[int, Path]]:
        made = [(epoch, tmp_path / f"epoch_{epoch}.pth") for epoch in range(count, 0, -1)]
        for epoch, path in made:
            torch.save(mmcv_style(epoch=epoch, iteration=10 * epoch), path)
        return made

    return save


def test_the_newest_of_sound_ones_is_chosen_and_nothing_is_skipped(epochs: Any) -> None:
    chosen, skipped = newest_valid(epochs(3))
    assert chosen is not None
    assert (chosen.epoch, chosen.iteration, skipped) == (3, 30, [])


def test_unsound_ones_are_passed_over_with_a_sentence_each(epochs: Any, mmcv_style: Make) -> None:
    candidates = epochs(7)
    paths = dict(candidates)
    paths[7].write_bytes(paths[7].read_bytes()[:-100])
    weights = mmcv_style()["state_dict"]
    weights["0.weight"] = torch.full_like(weights["0.weight"], float("nan"))
    torch.save(mmcv_style(epoch=6, state_dict=weights), paths[6])
    torch.save(mmcv_style(epoch=5, optimizer=None), paths[5])
    torch.save(mmcv_style(epoch=9), paths[4])
    whole = mmcv_style(epoch=3)
    whole["optimizer"]["state"][0]["exp_avg"][0] = float("inf")
    torch.save(whole, paths[3])
    chosen, skipped = newest_valid(candidates)
    assert chosen is not None
    assert chosen.file.path == str(paths[2])
    reasons = [
        "is cut short",
        "0.weight holds a NaN",
        "lacks optimizer",
        "saved after epoch 9, but was taken for epoch 4",
        "the optimizer's state.0.exp_avg",
    ]
    for epoch, reason, sentence in zip([7, 6, 5, 4, 3], reasons, skipped, strict=True):
        assert str(paths[epoch]) in sentence
        assert reason in sentence


def test_no_candidate_and_no_sound_candidate_give_none(tmp_path: Path) -> None:
    assert newest_valid([]) == (None, [])
    chosen, skipped = newest_valid([(1, tmp_path / "epoch_1.pth")])
    assert chosen is None
    assert "does not exist" in skipped[0]


def test_older_ones_are_not_opened_once_a_sound_one_is_found(epochs: Any) -> None:
    candidates = epochs(2)
    candidates[1][1].write_bytes(b"broken")
    assert newest_valid(candidates)[1] == []


def test_the_expected_final_checkpoint_passes(saved: Path) -> None:
    verify(inspect(saved), epochs=2, iterations=20)
    verify(inspect(saved), epochs=2, iterations=None)


@pytest.mark.parametrize(
    ("change", "check", "number"),
    [
        ({"finite": False, "first_non_finite": "head.w"}, "finite", "head.w"),
        ({"epoch": 1}, "epoch", "after epoch 1, not 2"),
        ({"iteration": 19}, "iteration", "after iteration 19, not 20"),
        ({"iteration": None}, "iteration", "after iteration unknown, not 20"),
    ],
)
def test_a_failed_check_names_the_checkpoint_the_check_and_what_to_type(
    saved: Path, change: dict[str, Any], check: str, number: str
) -> None:
    facts = inspect(saved).model_copy(update=change)
    with pytest.raises(CheckpointError) as caught:
        verify(facts, epochs=2, iterations=20)
    message = str(caught.value)
    assert str(saved) in message
    assert f"fails the check {check}:" in message
    assert number in message
    assert "set `checkpoint: {epoch: N}`" in message
