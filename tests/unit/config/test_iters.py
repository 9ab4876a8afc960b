"""A stage has either epochs or iters."""

from __future__ import annotations

import re
from typing import Any

import pytest

from trainrelay.config import parse
from trainrelay.errors import UserError

SCRIPT = {"kind": "script", "entry": "t.py", "script": {"command": "{interpreter} {entry} {iters}"}}


def of_stage(trainer: dict[str, Any], **stage: Any) -> Any:
    data = {"config": "t.py", "backends": ["gloo"], **stage}
    run = {"trainer": {**trainer, "nproc_per_node": 1, "device": "cpu"}, "stages": {"s": data}}
    return parse({"runs": {"r": run}}).stage("r", "s")


@pytest.mark.parametrize(
    ("trainer", "stage", "wanted"),
    [
        (SCRIPT, {}, "a stage has either epochs or iters; write one of them"),
        (SCRIPT, {"epochs": 1, "iters": 2}, "a stage has either epochs or iters; write one of them"),
        (SCRIPT, {"iters": 5, "checkpoint": {"epoch": 3}}, "counts iterations; write {iteration: N}"),
        (SCRIPT, {"iters": 5, "checkpoint": {"iteration": 9}}, "got 9; it trains 5 iterations"),
        ({"kind": "metriclogger", "entry": "t.py"}, {"iters": 5}, "kind metriclogger counts epochs"),
        (SCRIPT, {"iters": 5, "exact": True}, "exact: needs kind mmcv or mmengine; set that"),
        ({"kind": "mmengine"}, {"iters": 5, "checkpoint": {"epoch": 3}}, "write {iteration: N}"),
    ],
)
def test_what_contradicts_that_is_refused(
    trainer: dict[str, Any], stage: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(UserError, match=re.escape(wanted)):
        of_stage(trainer, **stage)


def test_the_count_and_its_unit() -> None:
    stage = of_stage(SCRIPT, iters=50, checkpoint={"iteration": 40})
    assert (stage.unit, stage.asked, stage.promoted_count) == ("iteration", 50, 40)
    stage = of_stage(SCRIPT, epochs=3)
    assert (stage.unit, stage.asked, stage.promoted_count) == ("epoch", 3, 3)
