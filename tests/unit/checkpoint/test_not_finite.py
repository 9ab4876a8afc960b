"""NaN beside the tensors of weights and optimizer; and all that may be NaN in a healthy checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainrelay.checkpoint import newest_valid, verify
from trainrelay.checkpoint.inspection import examine
from trainrelay.errors import CheckpointError

Make = Callable[..., dict[str, Any]]
Numbers = Callable[[Any], Any]
NAN, INF = float("nan"), float("inf")
SCALER = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000}
SCALER["_growth_tracker"] = 17


def examined(path: Path, whole: dict[str, Any], **how: Any) -> tuple[str | None, str | None]:
    """The first weight that is not finite, and the first of what steps them."""
    torch.save(whole, path, **how)
    inspection = examine(path)
    assert not inspection.missing
    return inspection.facts.first_non_finite, inspection.first_non_finite_state


def with_nan(weights: Any) -> Any:
    """Tensors or arrays, copied, a NaN in the first."""
    weights = copy.deepcopy(weights)
    first = next(iter(weights.values())) if isinstance(weights, dict) else weights[0]
    first[0, 0] = NAN
    return weights


# ---------------------------------------------------------------------- averages of the weights


def _callback(weights: Any) -> dict[str, Any]:
    metrics = {"best_model_score": torch.tensor(NAN), "best": INF}
    return {"callbacks": {"Checkpoint": metrics, "WeightAveraging": {"averages": [*weights.values()]}}}


AVERAGES: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "diffusers": (
        "ema.shadow_params.0",
        lambda w: {"ema": {"decay": 0.99, "shadow_params": list(w.values())}},
    ),
    "a list": ("ema_params.0", lambda w: {"ema_params": list(w.values())}),
    "nested": ("model_ema.module.0_w", lambda w: {"model_ema": {"n": 3, "module": {"0_w": w["0.weight"]}}}),
    "a state dict": ("ema.0.weight", lambda w: {"ema": w}),
    "mmengine's": ("EMAHook.0", lambda w: {"EMAHook": list(w.values())}),
    "a callback": ("callbacks.WeightAveraging.averages.0", _callback),
}


@pytest.mark.parametrize("style", AVERAGES)
def test_nan_in_an_average_of_the_weights_is_found(tmp_path: Path, mmcv_style: Make, style: str) -> None:
    (name, average), weights = AVERAGES[style], mmcv_style()["state_dict"]
    assert examined(tmp_path / "x.pth", mmcv_style(**average(weights))) == (None, None)
    assert examined(tmp_path / "x.pth", mmcv_style(**average(with_nan(weights)))) == (name, None)
    with pytest.raises(CheckpointError, match="fails the check finite"):
        verify(examine(tmp_path / "x.pth").facts, epochs=2, iterations=None)


def test_a_mask_in_an_average_is_as_healthy_as_in_the_model(tmp_path: Path, mmcv_style: Make) -> None:
    mask = torch.full((6, 6), -INF).triu(1)
    weights = {**mmcv_style()["state_dict"], "mask": mask}
    shadow = [value.clone() for value in weights.values()]
    for optimizer in (mmcv_style()["optimizer"], {"state": {}, "param_groups": [{"momentum": 0}]}):
        whole = mmcv_style(state_dict=weights, ema={"shadow_params": shadow}, optimizer=optimizer)
        assert examined(tmp_path / "x.pth", whole) == (None, None)
        assert newest_valid([(2, tmp_path / "x.pth")])[1] == []


def test_an_average_of_metrics_may_be_nan(tmp_path: Path, mmcv_style: Make) -> None:
    """Also one of a class each, as many as the last layer has outputs."""
    averages = {"ema_loss": torch.tensor(NAN), "ema_iou": torch.tensor([NAN, 0.1, 0.2])}
    for parts in (averages, {"ema": averages}, {"ema": {"decay": NAN, "iou": averages["ema_iou"]}}):
        assert examined(tmp_path / "x.pth", mmcv_style(**parts)) == (None, None)


# ---------------------------------------------------------------------- numpy


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("rows", [3, 2000])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
def test_nan_in_weights_of_numpy_is_found(
    tmp_path: Path, mmcv_style: Make, dtype: str, rows: int, protocol: int
) -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(rows, 4)).astype(dtype)}
    path, how = tmp_path / "x.pth", {"pickle_protocol": protocol}
    assert examined(path, mmcv_style(state_dict=weights), **how) == (None, None)
    facts = examine(path).facts
    assert (facts.tensors, facts.parameters) == (1, 4 * rows)
    weights["w"][-1, -1] = NAN
    assert examined(path, mmcv_style(state_dict=weights), **how) == ("w", None)


def test_an_array_of_many_chunks_is_read_to_its_end(
    tmp_path: Path, mmcv_style: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Characters of two bytes, and numbers, are cut by the ends of the chunks."""
    monkeypatch.setattr("trainrelay.checkpoint.archive.CHUNK_BYTES", 61)
    weights = {"w": np.random.default_rng(0).normal(size=1500)}
    for protocol in (2, 3):
        how = {"pickle_protocol": protocol}
        assert examined(tmp_path / "x.pth", mmcv_style(state_dict=weights), **how) == (None, None)
        bad = {"w": weights["w"].copy()}
        bad["w"][-1] = INF
        assert examined(tmp_path / "x.pth", mmcv_style(state_dict=bad), **how) == ("w", None)


def test_arrays_of_metrics_and_of_data_are_no_weights(tmp_path: Path, mmcv_style: Make) -> None:
    meta = {"epoch": 2, "iter": 20, "class_weight": np.array([NAN, 1.0]), "mean": np.full((3, 4), NAN)}
    texts = {"names": np.array(["a", "b"]), "objects": np.array([None, 1], dtype=object)}
    assert examined(tmp_path / "x.pth", mmcv_style(meta={**meta, **texts}, curve=np.full(9, NAN))) == (
        None,
        None,
    )


# ---------------------------------------------------------------------- plain numbers


@pytest.mark.parametrize("bad", [NAN, INF, 0.0])
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("scaler.scale", lambda s: {"scaler": {**SCALER, "scale": s}}),
        ("amp_scaler.scale", lambda s: {"amp_scaler": {**SCALER, "scale": s}}),
        ("amp.loss_scaler0.loss_scale", lambda s: {"amp": {"loss_scaler0": {"loss_scale": s}}}),
        (
            "meta.fp16.loss_scaler.scale",
            lambda s: {"meta": {"epoch": 2, "iter": 20, "fp16": {"loss_scaler": {**SCALER, "scale": s}}}},
        ),
    ],
)
def test_a_loss_scaler_that_skips_every_step_is_found(
    tmp_path: Path, mmcv_style: Make, name: str, parts: Callable[[Any], dict[str, Any]], bad: float
) -> None:
    """A training cannot resume from it; its weights are as good as they were."""
    path = tmp_path / "x.pth"
    assert examined(path, mmcv_style(**parts(65536.0))) == (None, None)
    assert examined(path, mmcv_style(**parts(bad))) == (None, name)
    assert newest_valid([(2, path)])[1] == [
        f"{path} is not finite: the optimizer's {name} holds a NaN or an infinity, or is a loss scale of 0"
    ]
    verify(examine(path).facts, epochs=2, iterations=20)


def test_nan_in_plain_numbers_of_the_optimizer_and_the_weights_is_found(
    tmp_path: Path, mmcv_style: Make
) -> None:
    whole = mmcv_style()
    whole["optimizer"]["param_groups"][0]["lr"] = NAN
    assert examined(tmp_path / "x.pth", whole) == (None, "param_groups.0.lr")
    whole = mmcv_style()
    whole["optimizer"]["param_groups"][0]["lr"] = np.float32(NAN)
    assert examined(tmp_path / "x.pth", whole) == (None, "param_groups.0.lr")
    whole = mmcv_style()
    whole["state_dict"] = {**whole["state_dict"], "temperature": NAN}
    assert examined(tmp_path / "x.pth", whole) == ("state_dict.temperature", None)


HEALTHY: dict[str, dict[str, Any]] = {
    "no best value yet": {"best_metric": -INF, "best_loss": INF},
    "no validation yet": {"val_loss": NAN, "metrics": {"iou": torch.tensor([0.5, NAN]), "acc": NAN}},
    "a history with a skipped step": {"losses": [1.0, NAN, 0.5], "long": [NAN, *range(900)]},
    "a plateau": {"lr_scheduler": {"best": INF, "mode_worse": INF, "_last_lr": [0.1]}},
    "an early stop": {"early_stopping": {"best_score": torch.tensor(INF), "wait": 0}},
    "a loss scaler": {"scaler": SCALER},
    "one that is off": {"scaler": {}},
    "a scaler of data": {"scaler": {"mean": NAN, "scale_": INF}},
    "settings": {"args": {"clip_grad": INF, "scale": INF, "timeout": NAN}},
    "mmcv's hooks": {"meta": {"epoch": 2, "iter": 20, "hook_msgs": {"best_score": -INF, "last": NAN}}},
    "statistics as large as a weight": {"semantic": {"confusion": torch.full((3, 4), NAN), "n": [1]}},
    "numpy's": {"best": np.float64(NAN), "counts": np.array([NAN])},
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_may_be_nan_or_infinite_in_a_healthy_checkpoint(
    tmp_path: Path, mmcv_style: Make, name: str
) -> None:
    assert examined(tmp_path / "x.pth", mmcv_style(**HEALTHY[name])) == (None, None)
    assert newest_valid([(2, tmp_path / "x.pth")])[1] == []


def test_bounds_and_what_modules_add_may_be_infinite_or_nan(tmp_path: Path, mmcv_style: Make) -> None:
    whole = mmcv_style()
    whole["optimizer"]["param_groups"][0]["max_norm"] = INF
    whole["state_dict"] = {
        **whole["state_dict"],
        "range": -INF,
        "metric._extra_state": {"best": NAN, "history": [NAN]},
    }
    assert examined(tmp_path / "x.pth", whole) == (None, None)


def test_metrics_beside_bare_weights_are_none_of_them(tmp_path: Path) -> None:
    torch.save({"head.weight": torch.ones(2), "val_loss": NAN}, tmp_path / "x.pth")
    assert examine(tmp_path / "x.pth").facts.finite


# ---------------------------------------------------------------------- counts


@pytest.mark.parametrize(
    "count",
    [torch.tensor(4), torch.tensor([4]), torch.tensor(4, dtype=torch.int32), torch.tensor(4).to(torch.uint8)],
)
def test_a_count_that_was_saved_as_a_tensor_is_a_count(tmp_path: Path, mmcv_style: Make, count: Any) -> None:
    torch.save(mmcv_style(meta={"epoch": count, "iter": count}), tmp_path / "x.pth")
    assert newest_valid([(4, tmp_path / "x.pth")])[1] == []
    assert examine(tmp_path / "x.pth").facts.iteration == 4
    torch.save(
        {"model": mmcv_style()["state_dict"], "optimizer": {"a": 1}, "epoch": count}, tmp_path / "y.pth"
    )
    assert examine(tmp_path / "y.pth", 1).facts.epoch == 5


@pytest.mark.parametrize(
    "count", [torch.tensor([4, 5]), torch.tensor(4.5), torch.tensor(-4), torch.arange(9)[4]]
)
def test_any_other_tensor_is_none(tmp_path: Path, mmcv_style: Make, count: Any) -> None:
    torch.save(mmcv_style(meta={"epoch": count, "iter": 1}), tmp_path / "x.pth")
    assert examine(tmp_path / "x.pth").missing == ("meta.epoch",)


def test_an_array_that_only_says_that_it_is_one_is_none(tmp_path: Path, mmcv_style: Make) -> None:
    """Shapes and types that no array has: read as nothing, and never an error of ours."""
    weights = mmcv_style()["state_dict"]
    for shape, code in [
        ((2, "x"), "f4"),
        ((-2, 1), "f4"),
        ((2**40, 2**40), "f4"),
        ((2, 2), "f4"),
        ((2,), "M8"),
    ]:

        class Forged:
            def __reduce__(self, shape: Any = shape, code: str = code) -> Any:
                made = np.array([0.0, NAN], dtype="f4").__reduce__()
                state = (1, shape, np.dtype(code), False, b"\0\0\0\0\0\0\xc0\x7f")
                return made[0], made[1], state

        torch.save(mmcv_style(state_dict={**weights, "forged": Forged()}), tmp_path / "x.pth")
        with suppress(CheckpointError):
            examine(tmp_path / "x.pth")
