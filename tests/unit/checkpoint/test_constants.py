"""Infinities that no step of training made: an attention mask is no divergence, a diverged weight is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainrelay.checkpoint import inspect, newest_valid, verify
from trainrelay.checkpoint.inspection import examine
from trainrelay.errors import CheckpointError

MASK = torch.full((6, 6), float("-inf")).triu(1)
INF, NAN = torch.full((2, 3), float("inf")), torch.full((2, 3), float("nan"))
SLOPES = MASK + torch.arange(6.0)  # a constant too, but nothing in it says so
NAMES = ["head.weight", "head.bias"]


class Masked(torch.nn.Module):
    """A model with a mask among its weights, whose size no parameter has."""

    def __init__(self, mask: Any) -> None:
        super().__init__()
        self.register_buffer("attention_mask", mask.clone())
        self.head = torch.nn.Linear(3, 2)


ADAM: Callable[[Any], Any] = lambda params: torch.optim.AdamW(params, lr=1e-3)  # noqa: E731
KEEPS_STATE: dict[str, Callable[[Any], Any]] = {
    "Adam": ADAM,
    "SGD with momentum": lambda params: torch.optim.SGD(params, lr=1e-3, momentum=0.9),
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=1e-3),
}
KEEPS_NONE: dict[str, Callable[[Any], Any]] = {
    "SGD without momentum": lambda params: torch.optim.SGD(params, lr=1e-3),
    "SGD without momentum for some": lambda params: torch.optim.SGD(
        [{"params": params[:1]}, {"params": params[1:], "momentum": 0.0}], lr=1e-3, momentum=0.9
    ),
    "Adafactor, whose state is of no weight's size": lambda params: torch.optim.Adafactor(params, lr=1e-3),
}


def saved(
    path: Path,
    epoch: int = 1,
    optimizer: Callable[[Any], Any] = ADAM,
    mask: Any = MASK,
    style: str = "mmcv",
    **changed: Any,
) -> Path:
    """A checkpoint after one step; `changed` replaces weights, with _ for the dot in their names."""
    model = Masked(mask)
    optimizer = optimizer(list(model.parameters()))
    model.head(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    weights = dict(model.state_dict()) | {
        name.replace("head_", "head."): new for name, new in changed.items()
    }
    whole = {"meta": {"epoch": epoch, "iter": epoch}, "state_dict": weights}
    if style == "detr":
        whole = {"epoch": epoch - 1, "model": weights}
    torch.save(whole | {"optimizer": optimizer.state_dict()}, path)
    return path


def diverged(path: Path, first: Path | None = None) -> str | None:
    facts = inspect(path, first=first)
    assert facts.finite == (facts.first_non_finite is None)
    return facts.first_non_finite


@pytest.mark.parametrize("style", ["mmcv", "detr"])
@pytest.mark.parametrize("optimizer", KEEPS_STATE)
def test_a_mask_of_infinities_is_no_divergence(tmp_path: Path, optimizer: str, style: str) -> None:
    """Even of the only checkpoint there is: it resumes and is promoted, and the facts tell of the mask."""
    path = saved(tmp_path / "epoch_1.pth", optimizer=KEEPS_STATE[optimizer], style=style)
    facts, skipped = newest_valid([(1, path)], epoch_base=int(style == "detr"))
    assert skipped == []
    assert facts is not None
    assert (facts.finite, facts.constant_infinity) == (True, "attention_mask")
    verify(facts, epochs=1, iterations=None)


@pytest.mark.parametrize("optimizer", KEEPS_NONE)
def test_where_the_optimizer_does_not_prove_it_the_first_checkpoint_does(
    tmp_path: Path, optimizer: str
) -> None:
    keeps = KEEPS_NONE[optimizer]
    first, second = (saved(tmp_path / f"epoch_{epoch}.pth", epoch, keeps, SLOPES) for epoch in (1, 2))
    assert diverged(second, first) is None
    facts, skipped = newest_valid([(2, second), (1, first)])
    assert facts is not None
    assert (facts.epoch, facts.constant_infinity, skipped) == (2, "attention_mask", [])


CONSTANTS = {"ALiBi slopes": SLOPES, "log priors": SLOPES[0], "a bound": torch.tensor(float("inf"))}


@pytest.mark.parametrize("optimizer", KEEPS_NONE)
@pytest.mark.parametrize("value", CONSTANTS.values(), ids=CONSTANTS)
def test_as_many_infinite_tensors_as_the_optimizer_lacks_may_be_constants(
    tmp_path: Path, optimizer: str, value: Any
) -> None:
    """Of the only checkpoint. One more is a weight, and what is called a weight is one, too."""
    keeps = KEEPS_NONE[optimizer]
    path = saved(tmp_path / "x.pth", optimizer=keeps, mask=value)
    assert (diverged(path), inspect(path).constant_infinity) == (None, "attention_mask")
    assert diverged(saved(tmp_path / "x.pth", optimizer=keeps, mask=value, head_weight=INF)) == "head.weight"
    assert (
        diverged(saved(tmp_path / "x.pth", optimizer=keeps, mask=MASK[0], head_bias=INF[0, :2]))
        == "head.bias"
    )
    whole = torch.load(saved(path, optimizer=keeps, mask=value))
    copies = {f"module.{name}": weight for name, weight in whole["state_dict"].items()}
    torch.save({**whole, "ema_state_dict": copies}, path)
    assert diverged(path) is None


@pytest.mark.parametrize("optimizer", [*KEEPS_STATE, *KEEPS_NONE])
def test_a_buffer_that_was_always_nan_is_no_divergence(tmp_path: Path, optimizer: str) -> None:
    """As one that is not set yet; running statistics never begin so, and other places are news."""
    keeps, unset = (KEEPS_STATE | KEEPS_NONE)[optimizer], MASK.clone()
    unset[0, 0] = float("nan")
    first, second = (saved(tmp_path / f"{epoch}.pth", epoch, keeps, unset) for epoch in (1, 2))
    assert diverged(second, first) is None
    moved = saved(tmp_path / "3.pth", 3, keeps, unset.roll(1, 0))
    assert diverged(moved, first) == "attention_mask"
    stats = {"bn.running_mean": unset[0]}
    first, second = (
        saved(tmp_path / f"{epoch}.pth", epoch, keeps, unset * 0 + 1, **stats) for epoch in (1, 2)
    )
    assert diverged(second, first) is not None
    spoilt = {"head_weight": NAN, "head_bias": NAN[0, :2]}
    first, second = (saved(tmp_path / f"{epoch}.pth", epoch, keeps, unset, **spoilt) for epoch in (1, 2))
    assert diverged(second, first) == "head.weight"


@pytest.mark.parametrize("style", ["mmcv", "detr"])
@pytest.mark.parametrize("optimizer", KEEPS_NONE)
def test_the_only_checkpoint_of_a_model_with_a_mask_is_valid(
    tmp_path: Path, optimizer: str, style: str
) -> None:
    """A matrix of minus infinity and one other number alone: no step of a training leaves that."""
    path = saved(tmp_path / "checkpoint.pth", optimizer=KEEPS_NONE[optimizer], style=style)
    facts, skipped = newest_valid([(1, path)], epoch_base=int(style == "detr"))
    assert skipped == []
    assert facts is not None
    assert facts.constant_infinity == "attention_mask"


@pytest.mark.parametrize("optimizer", [*KEEPS_STATE, *KEEPS_NONE])
def test_a_range_in_which_nothing_was_seen_yet_is_no_divergence(tmp_path: Path, optimizer: str) -> None:
    """As the observers of a quantization begin; a NaN in one is."""
    low, high = torch.tensor(float("inf")), torch.tensor([-float("inf")])
    keeps = (KEEPS_STATE | KEEPS_NONE)[optimizer]
    observer = {"act.min_val": low, "act.max_val": high}
    path = saved(tmp_path / "x.pth", optimizer=keeps, mask=torch.zeros(1), **observer)
    assert (diverged(path), inspect(path).constant_infinity) == (None, "act.min_val")
    path = saved(tmp_path / "x.pth", optimizer=keeps, **{**observer, "act.max_val": high * float("nan")})
    assert diverged(path) == "act.max_val"


STEPPED = {
    "beside trained numbers": MASK[:2, :3] + torch.rand(2, 3),
    "plus infinity": -MASK[:2, :3],
    "minus infinity alone": -INF,
    "plus infinity alone": INF,
    "both": torch.tensor([[1, -1, 1], [-1, 1, 1]]) * INF,
    "of a bias": MASK[0],
}


@pytest.mark.parametrize("value", STEPPED.values(), ids=STEPPED)
def test_what_a_step_can_leave_in_the_only_checkpoint_is_a_divergence(tmp_path: Path, value: Any) -> None:
    path = saved(tmp_path / "x.pth", optimizer=KEEPS_NONE["SGD without momentum"], head_weight=value)
    assert diverged(path) == "head.weight"


def test_a_mask_of_many_chunks_is_one_only_if_all_of_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainrelay.checkpoint.archive.CHUNK_BYTES", 64)
    keeps, mask = KEEPS_NONE["SGD without momentum"], torch.zeros(10, 10)
    mask[5:] = float("-inf")
    assert diverged(saved(tmp_path / "x.pth", optimizer=keeps, mask=mask)) is None
    whole = {"state_dict": {"mask": mask, "w": mask}, "meta": {"epoch": 1, "iter": 1}, "optimizer": {}}
    mask[0, 1] = 0.5
    torch.save(whole, tmp_path / "x.pth")
    assert diverged(tmp_path / "x.pth") == "mask"


def test_what_the_first_checkpoint_had_finite_is_no_mask(tmp_path: Path) -> None:
    keeps = KEEPS_NONE["SGD without momentum"]
    first = saved(tmp_path / "epoch_1.pth", 1, keeps)
    path = saved(tmp_path / "epoch_2.pth", 2, keeps, head_weight=MASK[:2, :3])
    assert diverged(path, first) == "head.weight"


def test_weights_alone_are_compared_with_the_first_checkpoint(tmp_path: Path) -> None:
    first = saved(tmp_path / "epoch_1.pth", mask=SLOPES)
    alone = tmp_path / "weights.pth"
    torch.save({"attention_mask": SLOPES, "head.weight": torch.ones(2, 3)}, alone)
    assert diverged(alone) == "attention_mask"
    assert diverged(alone, first) is None


def test_a_mask_of_the_size_of_a_weight_is_compared_with_the_first_checkpoint(tmp_path: Path) -> None:
    mask = SLOPES[:2, :3].clone()
    first, second = (saved(tmp_path / f"{epoch}.pth", epoch, mask=mask) for epoch in (1, 2))
    assert diverged(second) is None  # the optimizer has state for one weight of this size
    assert diverged(second, first) is None
    moved = saved(tmp_path / "3.pth", 3, mask=mask.roll(1, 0))
    assert diverged(moved, first) == "attention_mask"


@pytest.mark.parametrize("optimizer", [*KEEPS_STATE, *KEEPS_NONE])
@pytest.mark.parametrize("value", [INF, NAN, INF.tril()], ids=["inf", "nan", "some"])
def test_a_weight_that_became_infinite_is_a_divergence(tmp_path: Path, optimizer: str, value: Any) -> None:
    keeps = (KEEPS_STATE | KEEPS_NONE)[optimizer]
    first = saved(tmp_path / "epoch_1.pth", 1, keeps)
    path = saved(tmp_path / "epoch_2.pth", 2, keeps, head_weight=value)
    assert diverged(path, first) == "head.weight"
    with pytest.raises(CheckpointError, match="fails the check finite"):
        verify(inspect(path, first=first), epochs=2, iterations=None)


def test_nan_in_a_mask_counts_and_so_does_one_infinity_in_the_optimizer(tmp_path: Path) -> None:
    mask = MASK.clone()
    mask[0, 0] = float("nan")
    assert diverged(saved(tmp_path / "epoch_2.pth", 2, mask=mask)) == "attention_mask"
    path = saved(tmp_path / "epoch_3.pth", 3)
    whole = torch.load(path)
    whole["optimizer"]["state"][0]["exp_avg"][0] = float("inf")
    torch.save(whole, path)
    assert examine(path).first_non_finite_state == "state.0.exp_avg"


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "float8_e5m2"])
def test_infinities_are_told_from_nan_in_each_type_that_has_them(tmp_path: Path, dtype: str) -> None:
    kind = getattr(torch, dtype)
    for keeps in (ADAM, KEEPS_NONE["SGD without momentum"]):
        path = saved(tmp_path / "x.pth", optimizer=keeps, attention_mask=MASK.to(kind))
        assert (diverged(path), inspect(path).constant_infinity) == (None, "attention_mask")
    nan = MASK.clone()
    nan[3, 3] = float("nan")
    assert diverged(saved(tmp_path / "x.pth", attention_mask=nan.to(kind))) == "attention_mask"


def test_a_first_checkpoint_that_cannot_be_read_proves_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "epoch_2.pth", 2, mask=SLOPES)
    whole = torch.load(path)
    torch.save(whole | {"optimizer": {}}, path)
    (tmp_path / "epoch_1.pth").write_bytes(b"broken")
    assert diverged(path, tmp_path / "epoch_1.pth") == "attention_mask"
    assert diverged(path, tmp_path / "missing.pth") == "attention_mask"


@pytest.mark.parametrize(
    "optimizer",
    [
        None,
        [],
        {"state": 3, "param_groups": []},
        {"state": {0: [1]}, "param_groups": [{"params": [[], 1], "momentum": 0}]},
        {"state": {0: {"step": 1}}, "param_groups": [{"params": [0, 1]}]},
        {"state": {0: {"a": torch.ones(2, 3)}}, "param_groups": [7]},
        {"state": {0: {"a": torch.ones(7)}}, "param_groups": [{"params": [0, 1]}]},
        {
            "state": {0: {"a": torch.ones(2, 3)}, 1: {"a": torch.ones(2, 3)}},
            "param_groups": [{"params": [0, 1]}],
        },
    ],
)
def test_an_optimizer_of_another_kind_proves_nothing(tmp_path: Path, optimizer: Any) -> None:
    whole = {"meta": {"epoch": 1, "iter": 1}, "state_dict": {"mask": SLOPES, "w": torch.ones(2, 3)}}
    torch.save(whole | {"optimizer": optimizer}, tmp_path / "x.pth")
    assert diverged(tmp_path / "x.pth") == "mask"


def test_a_pattern_of_countless_pieces_is_kept_short_and_still_compared(tmp_path: Path) -> None:
    many = torch.zeros(40_000)
    many[::2] = float("-inf")
    first = saved(tmp_path / "epoch_1.pth", mask=many, optimizer=KEEPS_NONE["SGD without momentum"])
    second = saved(tmp_path / "epoch_2.pth", 2, mask=many, optimizer=KEEPS_NONE["SGD without momentum"])
    assert diverged(second, first) is None


def test_several_optimizers_count_together(tmp_path: Path) -> None:
    whole = torch.load(saved(tmp_path / "x.pth", mask=SLOPES))
    one = {"state": {}, "param_groups": [{"params": [0]}]}
    torch.save({**whole, "optimizer": {"generator": one, "discriminator": one}}, tmp_path / "x.pth")
    assert diverged(tmp_path / "x.pth") is None
    torch.save(
        {**whole, "optimizer": {"generator": one, "rest": {"param_groups": [{"params": [0, 1]}]}}},
        tmp_path / "x.pth",
    )
    assert diverged(tmp_path / "x.pth") == "attention_mask"
