"""A stage may name keys of the trainer that are others for it: MAE's second stage has another script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainrelay.config import parse, stage_paths
from trainrelay.errors import ConfigError
from trainrelay.training.context import StageContext
from trainrelay.training.request import initial_checkpoint

RUN = {
    "kind": "metriclogger", "root": "/mae", "entry": "main_pretrain.py", "nproc_per_node": 2, "device": "cpu",
    "epoch_base": 1, "env": {"A": "1", "B": "2"},
}  # fmt: skip


def config(own: Any, **run: Any) -> dict[str, Any]:
    """Two stages, the second with what is its own."""
    stage = {"config": "main_pretrain.py", "epochs": 2, "backends": ["gloo"]}
    second = {**stage, "init_from": "pre", "trainer": own}
    first = {**stage, "promotion": {"target": "pre.pth"}}
    return {"runs": {"mae": {"trainer": {**RUN, **run}, "stages": {"pre": first, "fine": second}}}}


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(data)
    return [problem.removeprefix("runs.mae.") for problem in refused.value.problems]


def test_what_it_leaves_out_is_as_the_runs() -> None:
    parsed = parse(config({"entry": "main_finetune.py", "env": {"B": "3"}}))
    first, second = (StageContext(parsed, "mae", name).trainer_settings for name in ("pre", "fine"))
    assert (first.entry, first.env) == ("main_pretrain.py", {"A": "1", "B": "2"})
    assert (second.entry, second.kind, second.epoch_base) == ("main_finetune.py", "metriclogger", 1)
    assert second.env == {"A": "1", "B": "3"}


def test_another_kind_inherits_nothing_that_belongs_to_the_kind() -> None:
    second = parse(config({"kind": "mmcv"})).runs["mae"].trainer_of("fine")
    assert (second.entry, second.epoch_base, second.nproc_per_node) == ("./tools/train.py", None, 2)


def test_without_a_gpu_the_ladder_that_nobody_wrote_is_gloo_alone() -> None:
    """By each stage's own device; a ladder that somebody wrote stays."""
    data = config({"device": "cuda"})
    stages = data["runs"]["mae"]["stages"]
    stages["fine"]["resources"] = {"gpu": 2}
    stages["more"] = {**stages["pre"], "promotion": None, "backends": ["nccl", "gloo"]}
    del stages["pre"]["backends"], stages["fine"]["backends"]
    parsed = parse(data).runs["mae"].stages
    assert {name: stage.backends for name, stage in parsed.items()} == {
        "pre": ("gloo",),
        "fine": ("nccl", "gloo"),
        "more": ("nccl", "gloo"),
    }


def test_a_snapshot_reads_back_as_it_was() -> None:
    parsed = parse(config({"kind": "mmcv", "env": {"B": "3"}}))
    assert parse(json.loads(parsed.model_dump_json(by_alias=True))) == parsed


def test_another_checkout_starts_from_the_file_where_it_is() -> None:
    at = StageContext(parse(config({"root": "/other"})), "mae", "fine")
    assert initial_checkpoint(at) == "/mae/pre.pth"
    assert initial_checkpoint(StageContext(parse(config(None)), "mae", "fine")) == "pre.pth"


def test_its_paths_are_meant_from_its_own_checkout() -> None:
    data = config({"root": "/other"})
    data["runs"]["mae"]["stages"]["fine"]["work_dir"] = "out"
    assert stage_paths(parse(data), "mae", "fine").work_dir == Path("/other/out")


IN_ITS_OWN = [
    ({"entri": "x"}, "trainer.entri: unknown key; did you mean entry?"),
    ({"nproc_per_node": "2"}, "trainer.nproc_per_node: got '2'; expected a whole number"),
    ({None: "x"}, "trainer.None: is empty; expected Keys should be strings"),
    (5, "trainer: got 5; expected a mapping (key: value lines)"),
    ({"kind": "script"}, "trainer.script: kind script needs it; write at least `command`"),
    ({"kind": "mmcv", "epoch_base": 1}, "trainer.epoch_base: kind mmcv needs none; leave it out"),
    ({"device": "cuda"}, "resources.gpu: not set; device cuda with nproc_per_node 2 needs 2"),
]
BESIDE = [
    ({"entry": "main_finetune.py"}, "entry: unknown key; write trainer: {entry: ...}"),
    ({"gpu": 2}, "gpu: unknown key; write resources: {gpu: ...}"),
    ({"gpus": 2}, "gpus: unknown key; write resources: {gpu: ...}"),
    ({"epoch": 2}, "epoch: unknown key; did you mean epochs?"),
    ({"seeds": 2}, "seeds: unknown key; did you mean seed?"),
    ({"init_form": "pre"}, "init_form: unknown key; did you mean init_from?"),
]
IN_THE_RUNS = [
    ({"devise": "cpu"}, "trainer.devise: unknown key; did you mean device?"),
    ({"device": "tpu"}, "trainer.device: got 'tpu'; allowed: 'cuda' or 'cpu'; did you mean cpu?"),
]


@pytest.mark.parametrize(("own", "said"), IN_ITS_OWN)
def test_a_mistake_is_named_where_it_stands(own: Any, said: str) -> None:
    assert problems(config(own)) == [f"stages.fine.{said}"]


@pytest.mark.parametrize(("key", "said"), BESIDE)
def test_a_key_of_a_section_beside_it_is_told_where_it_belongs(key: dict[str, Any], said: str) -> None:
    data = config(None)
    data["runs"]["mae"]["stages"]["fine"].update(key)
    assert problems(data) == [f"stages.fine.{said}"]


@pytest.mark.parametrize(("run", "said"), IN_THE_RUNS)
def test_a_mistake_of_the_runs_is_named_once(run: dict[str, Any], said: str) -> None:
    assert problems(config({"entry": "x"}, **run)) == [said]
