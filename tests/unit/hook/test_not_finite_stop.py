"""The stop before an optimizer step, with mmcv's own runners on one rank and on two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainrelay.supervise.hangs import with_stack_dumps
from trainrelay.system.ports import free_port
from trainrelay_hook import files

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("hook")]

TRAINER = Path(__file__).parents[2] / "support" / "hooked_trainer.py"
STEPS, BAD = 6, 3
Cases = tuple[str, ...]

ONE_RANK = (
    *("nan:plain:epochs", "inf:plain:iterations", "gradient:clipped:epochs", "gradient:plain:epochs"),
    *("hidden:plain:epochs", "hidden-method:clipped:epochs", "nan:accumulated:epochs"),
    *("hidden:accumulated:epochs", "nan:scaled:epochs", "nan:scaled-accumulated:epochs"),
    *("inf-and-hidden:scaled:epochs", "inf-and-hidden:scaled-accumulated:epochs"),
    *("hidden:scaled:epochs", "nan:protected:epochs", "nothing:plain:epochs"),
    *("logged:plain:epochs", "nan:replaced:epochs", "nan:cleaned:epochs"),
    *("nan:clipped:epochs:clean", "nan:clipped:epochs:clean:bare"),
    *("nan:plain:mmengine-epochs", "gradient:clipped:mmengine-iterations", "hidden:plain:mmengine-epochs"),
    *("nan:accumulated:mmengine-epochs", "hidden:accumulated:mmengine-iterations"),
    *("nan:scaled:mmengine-epochs", "nan:scaled-accumulated:mmengine-epochs", "logged:plain:mmengine-epochs"),
    *("inf-and-hidden:scaled:mmengine-epochs", "nothing:plain:mmengine-epochs"),
    "hidden:scaled:mmengine-iterations",
)
TWO_RANKS = (
    *("nan:plain:epochs:unused", "hidden:plain:epochs:unused", "hidden:accumulated:epochs:unused"),
    *("unused-everywhere:clipped:iterations", "nan:scaled:epochs:unused", "gradient:clipped:epochs:unused"),
    *("hidden:accumulated:mmengine-epochs:unused", "nan:clipped:mmengine-iterations:unused"),
    "nan:scaled:mmengine-epochs:unused",
)


def played(settings: Path, alone: Cases, together: Cases, hooked: str = "01") -> list[dict[str, Any]]:
    """What each of two ranks did, by case; `hooked` are those with the hook."""
    settings.write_text(json.dumps({"format": 1, "not_finite": True}))
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    env |= {"WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, str(TRAINER), *alone, "--", *together],
            env=with_stack_dumps(
                {**env, "RANK": rank, **({files.VARIABLE: str(settings)} if rank in hooked else {})}
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    said = [rank.communicate() for rank in started]
    lines = [[line[5:] for line in output.splitlines() if line.startswith("CASE ")] for output, _ in said]
    assert [len(of_rank) for of_rank in lines] == [len(alone + together), len(together)], said
    return [{found["case"]: found for found in map(json.loads, of_rank)} for of_rank in lines]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank did, by case."""
    return played(tmp_path_factory.mktemp("hook") / "settings.json", ONE_RANK, TWO_RANKS)


@pytest.fixture
def alone(ranks: list[dict[str, Any]]) -> dict[str, Any]:
    """What one rank did that was not distributed."""
    return ranks[0]


@pytest.mark.parametrize(
    ("case", "step"),
    [
        ("nan:plain:epochs", BAD),
        ("inf:plain:iterations", BAD),
        ("gradient:clipped:epochs", BAD),
        ("gradient:plain:epochs", BAD),
        ("hidden:plain:epochs", BAD),
        ("hidden-method:clipped:epochs", BAD),
        ("nan:accumulated:epochs", BAD + 1),
        ("hidden:accumulated:epochs", BAD + 1),
        ("hidden:scaled:epochs", BAD),
        ("nan:plain:mmengine-epochs", BAD),
        ("gradient:clipped:mmengine-iterations", BAD),
        ("hidden:plain:mmengine-epochs", BAD),
        ("nan:accumulated:mmengine-epochs", BAD + 1),
        ("hidden:accumulated:mmengine-iterations", BAD + 1),
        ("hidden:scaled:mmengine-iterations", BAD),
    ],
)
def test_a_training_is_stopped_before_the_step_that_would_spoil_it(
    alone: dict[str, Any], case: str, step: int
) -> None:
    """The weights are still finite, and the step is the one that would have been done next."""
    found = alone[case]
    assert (found["end"], found["iterations"], found["finite"]) == ("NotFinite", step - 1, True), found
    assert (found["seen"]["step"], found["seen"]["iteration"], found["seen"]["epoch"]) == (step, step, 1)


@pytest.mark.parametrize(
    "case",
    [
        *(
            "nan:scaled:epochs",
            "nan:scaled-accumulated:epochs",
            "nan:protected:epochs",
            "nothing:plain:epochs",
        ),
        *("inf-and-hidden:scaled:epochs", "inf-and-hidden:scaled-accumulated:epochs"),
        *("logged:plain:epochs", "nan:replaced:epochs", "nan:cleaned:epochs"),
        *("nan:scaled:mmengine-epochs", "nan:scaled-accumulated:mmengine-epochs"),
        *("inf-and-hidden:scaled:mmengine-epochs", "nothing:plain:mmengine-epochs"),
        "logged:plain:mmengine-epochs",
    ],
)
def test_what_never_reaches_the_weights_stops_nothing(alone: dict[str, Any], case: str) -> None:
    """A loss scaler or the trainer itself sees to it, or it is the mean of nothing, or logged alone."""
    found = alone[case]
    assert (found["end"], found["iterations"], found["finite"]) == ("done", STEPS, True), found
    assert found["seen"] is None


def test_what_is_written_down_names_the_cause(alone: dict[str, Any]) -> None:
    """Loss, hidden loss, parameters as they were before they were clipped, and samples."""
    nan, hidden = alone["nan:plain:epochs"]["seen"], alone["hidden:plain:epochs"]["seen"]
    assert (nan["loss"], nan["samples"]) == ("nan", [f"s{BAD}-0"])
    assert alone["nan:plain:mmengine-epochs"]["seen"] == nan
    assert (hidden["loss"], hidden["hidden"], hidden["parameters"]) == (None, ["nan"], [])
    for case in ("gradient:clipped:epochs", "gradient:plain:epochs", "gradient:clipped:mmengine-iterations"):
        seen = alone[case]["seen"]
        assert (seen["loss"], seen["parameters"], seen["more_parameters"]) == (None, ["inner.scale"], 0)


def test_a_training_with_finite_numbers_is_bit_identical(alone: dict[str, Any]) -> None:
    """With the hook and without its part in the runner, the same weights."""
    assert alone["nan:clipped:epochs:clean"]["weights"] == alone["nan:clipped:epochs:clean:bare"]["weights"]
    assert alone["nan:clipped:epochs:clean"]["end"] == "done"


@pytest.mark.parametrize(
    ("case", "step"),
    [
        ("nan:plain:epochs:unused", BAD),
        ("hidden:plain:epochs:unused", BAD),
        ("hidden:accumulated:epochs:unused", BAD + 1),
        ("unused-everywhere:clipped:iterations", BAD),
        ("gradient:clipped:epochs:unused", BAD),
        ("hidden:accumulated:mmengine-epochs:unused", BAD + 1),
        ("nan:clipped:mmengine-iterations:unused", BAD),
    ],
)
def test_all_ranks_stop_at_the_same_step(ranks: list[dict[str, Any]], case: str, step: int) -> None:
    """Though only the second rank's batch is bad; only it says what it saw of its own batch."""
    for rank in ranks:
        found = rank[case]
        assert (found["end"], found["iterations"], found["finite"]) == ("NotFinite", step - 1, True), found
        assert found["seen"]["step"] == step
    first, second = (rank[case]["seen"] for rank in ranks)
    assert not first["loss"]
    assert not first["hidden"]
    assert second["loss"] or second["hidden"] or second["parameters"]


def test_a_scaler_skips_on_both_ranks(ranks: list[dict[str, Any]]) -> None:
    """And nothing is stopped."""
    for case in ("nan:scaled:epochs:unused", "nan:scaled:mmengine-epochs:unused"):
        assert {rank[case]["end"] for rank in ranks} == {"done"}


@pytest.mark.long
def test_a_rank_without_the_hook_is_not_waited_for_indefinitely(tmp_path: Path) -> None:
    """The training runs as ever; the rank with the hook waits a minute, once, and is then on its own."""
    case = "nan:clipped:epochs:unused:clean"
    found = played(tmp_path / "settings.json", (), (case,), hooked="0")
    assert [rank[case]["end"] for rank in found] == ["done", "done"]
