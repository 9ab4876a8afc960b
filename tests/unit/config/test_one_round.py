"""All problems of a config come in one round, and none that only follows from another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainrelay.config import load_config, load_plain, parse
from trainrelay.errors import ConfigError


def config(trainer: dict[str, Any] | None = None, **stages: dict[str, Any]) -> dict[str, Any]:
    """Each stage with what it needs; None takes a key out."""
    settings = {"kind": "mmcv", "nproc_per_node": 2, "device": "cpu", **(trainer or {})}
    common = {"config": "a.py", "epochs": 2, "backends": ["gloo"]}
    whole = {name: {**common, **stage} for name, stage in stages.items()}
    data = {
        name: {key: value for key, value in stage.items() if value is not None}
        for name, stage in whole.items()
    }
    return {"runs": {"r": {"trainer": settings, "stages": data}}}


def problems(data: Any) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(data)
    return [problem.removeprefix("runs.r.").split(";")[0] for problem in refused.value.problems]


NO_PARENT = "stages.b.init_from: got 'c', no stage of this run"
WRONG = [
    ({"epoch": 3}, "stages.a.epoch: unknown key"),
    ({"epochs": "two"}, "stages.a.epochs: got 'two'"),
    ({"epochs": None}, "stages.a: a stage has either epochs or iters"),
    ({"config": 5}, "stages.a.config: got 5"),
    ({"resources": 5}, "stages.a.resources: got 5"),
    ({"resources": {"gpuu": 5}}, "stages.a.resources.gpuu: unknown key"),
    ({"backends": ["gloo", 5]}, "stages.a.backends.1: got 5"),
    ({"checkpoint": {"epoch": 0}}, "stages.a.checkpoint: got {'epoch': 0}"),
    ({"promotion": {"overwrite": True}}, "stages.a.promotion.target: missing"),
    ({"promotion": {"targt": "x"}}, "stages.a.promotion.targt: unknown key"),
    ({"options": {"x": {}}}, "stages.a.options.x: got {}"),
    ({"validate": "no"}, "stages.a.validate: got 'no'"),
    ({"work_dir": "$NO_SUCH_VARIABLE/x"}, "stages.a.work_dir: got '$NO_SUCH_VARIABLE/x'"),
]


@pytest.mark.parametrize(("stage", "first"), WRONG)
def test_a_contradiction_elsewhere_comes_along(stage: dict[str, Any], first: str) -> None:
    found = problems(config(a=stage, b={"init_from": "c"}))
    assert any(problem.startswith(first) for problem in found)
    assert found[-1] == NO_PARENT


@pytest.mark.parametrize(("stage", "first"), WRONG)
def test_nothing_is_said_that_only_follows_from_it(stage: dict[str, Any], first: str) -> None:
    found = problems(config(a=stage, b={"init_from": "a"}))
    assert all("stages.a" in problem for problem in found), found
    assert len(found) == (2 if "targt" in first or "checkpoint" in first else 1)


@pytest.mark.parametrize(
    ("trainer", "first"),
    [
        ({"kind": "lightning"}, "trainer.kind: got 'lightning'"),
        ({"devise": "cpu", "device": "cuda"}, "trainer.devise: unknown key"),
        ({"nproc_per_node": "2"}, "trainer.nproc_per_node: got '2'"),
        ({"device": "gpu"}, "trainer.device: got 'gpu'"),
    ],
)
def test_what_depends_on_a_wrong_setting_of_the_trainer_is_not_judged(
    trainer: dict[str, Any], first: str
) -> None:
    found = problems(config(trainer, a={"options": {"runner.max_epochs": 3}}, b={"init_from": "c"}))
    assert first in found[0]
    assert found[1:] == [NO_PARENT]


def test_a_section_that_is_none_or_missing_still_lets_the_others_be_judged() -> None:
    data = config(a={}, b={"init_from": "c"})
    del data["runs"]["r"]["trainer"]
    data["runs"]["r"]["stages"]["a"] = None
    assert problems(data)[:2] == ["trainer: missing", "stages.a: is empty"]
    assert problems(data)[-1] == NO_PARENT


def test_two_runs_are_one_round() -> None:
    data = config(a={"epochs": 0}, b={"checkpoint": {"epoch": 3}})
    data["runs"]["q"] = config(a={"epochs": "x"}, b={"init_from": "a", "checkpoint": {"epoch": 4}})["runs"][
        "r"
    ]
    found = problems(data)
    assert [words.split(":")[0] for words in found] == [
        "stages.a.epochs",
        "runs.q.stages.a.epochs",
        "stages.b.checkpoint.epoch",
        "runs.q.stages.b.checkpoint.epoch",
    ]


DUPLICATES = """\
out: a
runs:
  r:
    trainer: {kind: mmcv, nproc_per_node: 2, device: cpu, kind: mmcv}
    stages:
      a:
        config: a.py
        epochs: 2
        config: b.py
out: b
"""


@pytest.mark.parametrize("read", [load_config, load_plain])
def test_duplicate_keys_come_together_with_their_own_lines(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(DUPLICATES)
    with pytest.raises(ConfigError) as refused:
        read(path)
    assert refused.value.problems == [
        "line 4, column 59: duplicate key 'kind' (lines 4 and 4)",
        "line 9, column 9: duplicate key 'config' (lines 7 and 9)",
        "line 10, column 1: duplicate key 'out' (lines 1 and 10)",
    ]


def test_an_anchor_that_is_merged_before_it_is_read_itself_is_no_duplicate(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {x: 1}\ntop:\n  b: &b {<<: *a, x: 2}\nc: {<<: *b, y: 1}\n")
    assert load_plain(path)["c"] == {"x": 2, "y": 1}
