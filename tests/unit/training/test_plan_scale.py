"""Many stages: what they share is read once, and each costs the same however many there are."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.planning import sweep
from support.project import REPOSITORY
from trainrelay.config import Config, parse
from trainrelay.dag import Plans
from trainrelay.training.context import StageContext
from trainrelay.training.plan import plan
from trainrelay.training.request import cores

_heard: list[tuple[str, tuple[Any, ...]]] | None = None  # Python's audit events; None: not listening


def _hear(event: str, values: tuple[Any, ...]) -> None:
    # An opener's own open comes without a mode, beside the one that called it.
    if _heard is not None and (event == "compile" or (event == "open" and values[1])):
        _heard.append((event, values))


sys.addaudithook(_hear)


@pytest.fixture
def heard() -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    global _heard  # noqa: PLW0603 (a hook cannot be removed)
    _heard = []
    yield _heard
    _heard = None


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Three stages in a row, each with a trainer config of its own on two bases, and a site.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.yaml").write_text("partition: gpu\n")
    (tmp_path / "data.py").write_text("data = dict(workers_per_gpu=4)\n")
    (tmp_path / "runtime.py").write_text("log_level = 'INFO'\n")
    stages: dict[str, Any] = {}
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.py").write_text("_base_ = ['data.py', 'runtime.py']\noptimizer = dict(lr=0.1)\n")
        init_from = next(reversed(stages), None)
        stages[name] = {"config": f"{name}.py", "epochs": 2, "backends": ["gloo"], "init_from": init_from}
    trainer = {"kind": "mmcv", "nproc_per_node": 2, "device": "cpu"}
    return parse({"runs": {"r": {"trainer": trainer, "stages": stages}}})


def test_a_plan_parses_each_trainer_file_once_and_opens_the_site_file_once(
    three: Config, heard: list[tuple[str, tuple[Any, ...]]]
) -> None:
    assert [planned.action for planned in plan(three)] == ["train"] * 3
    parsed = Counter(values[1] for event, values in heard if event == "compile")
    opened = Counter(Path(str(values[0])).name for event, values in heard if event == "open")
    trainer_files = ("one.py", "two.py", "three.py", "data.py", "runtime.py")
    assert {name: parsed[name] for name in trainer_files} == dict.fromkeys(trainer_files, 1)
    assert {name: opened[name] for name in trainer_files} == dict.fromkeys(trainer_files, 1)
    assert opened["site.yaml"] == 1


def test_the_rules_open_the_site_file_once(three: Config, heard: list[tuple[str, tuple[Any, ...]]]) -> None:
    plans = Plans(three, [])
    found = [
        plans.resources(stage)["slurm_partition"](SimpleNamespace(run="r")) for stage in three.stage_names
    ]
    assert found == ["gpu"] * 3
    assert [str(values[0]) for event, values in heard if "site.yaml" in str(values[0])] == ["site.yaml"]


def test_the_next_plan_reads_again(three: Config) -> None:
    def rate() -> str:
        return plan(three)[0].ingredients["config: optimizer.lr"]

    assert rate() == "0.1"
    Path("one.py").write_text("_base_ = ['data.py', 'runtime.py']\noptimizer = dict(lr=0.2)\n")
    assert rate() == "0.2"


def steps(run: Callable[[], object]) -> int:
    """How many functions Python calls, its own built-in ones included."""
    count = 0

    def profile(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def all_that_rules_ask(stages: int) -> Callable[[], object]:
    data = sweep(stages)

    def ask() -> None:
        config = parse(data)
        plans = Plans(config, [])
        for name in config.stage_names:
            asks = [*plans.signature_params(name), *plans.resources(name).values()]
            for run in config.runs_with(name):
                cores(StageContext(config, run, name))
                assert [one(SimpleNamespace(run=run)) for one in asks].count(None) == 1  # slurm_extra

    return ask


def test_four_times_as_many_stages_take_four_times_as_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    all_that_rules_ask(2)()  # what is made once a process
    few, many = (steps(all_that_rules_ask(stages)) for stages in (20, 80))
    assert many <= 4 * few
