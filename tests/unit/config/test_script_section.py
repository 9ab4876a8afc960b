"""The section `script`: what is wrong in it is one sentence with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainrelay.config import parse
from trainrelay.errors import ConfigError
from trainrelay.progress_lines.described import PatternReader
from trainrelay.trainers import ScriptSettings

PAGE = Path(__file__).parents[3] / "docs/my_own_script.md"
COMMAND = "{launcher} {entry} --epochs {epochs}"


def problems(script: dict[str, Any] | None, ranks: int = 1, kind: str = "script", **stage: Any) -> list[str]:
    trainer = {"kind": kind, "entry": "a.py", "nproc_per_node": ranks, "device": "cpu", "script": script}
    stages = {"s": {"config": "a.py", "epochs": 2, **stage}}
    try:
        parse({"runs": {"r": {"trainer": trainer, "stages": stages}}})
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize("key", ScriptSettings.model_fields)
def test_every_key_of_the_section_is_on_its_page(key: str) -> None:
    assert f"`{key}" in PAGE.read_text() or f"\n        {key}:" in PAGE.read_text()


def test_the_patterns_of_the_page_read_the_lines_that_they_are_about() -> None:
    block = re.findall(r"^```yaml\n(      script:.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[0]
    reader = PatternReader(ScriptSettings(**yaml.safe_load(block)["script"]).progress or ())
    lines = ("=== round 3 of 9", "20/100: objective 0.5, rate 1e-4", "validated: 0.75")
    seen = [reader.line(line) for line in lines]
    assert [one and (one.epoch, one.iteration, one.iters) for one in seen] == [
        (3, None, None),
        (3, 20, 100),
        (3, None, None),
    ]
    assert [one and {**one.values, **one.evaluated} for one in seen] == [
        {},
        {"loss": 0.5, "lr": 1e-4},
        {"accuracy": 0.75},
    ]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            {"command": "{launcher} {entry} {wrok_dir}"},
            "command: got '{launcher} {entry} {wrok_dir}'; unknown",
        ),
        ({"command": "{launcher} {entry} {wrok_dir}"}, "did you mean work_dir?"),
        ({"command": "{launcher} {entry} --out {work_dir"}, "a brace of {work_dir} is missing"),
        ({"command": "{launcher} {entry} --out work_dir}/x"}, "a brace of {work_dir} is missing"),
        ({"command": "python main.py"}, "command: got 'python main.py'; has no {entry}"),
        ({"command": "{entry} | tee log"}, "is started without a shell, which '|' needs"),
        ({"command": "{entry} --data $HOME/x"}, "is started without a shell, which '$HOME/x' needs"),
        ({"command": "{entry} 'a"}, "cannot be split into words (No closing quotation)"),
        (
            {"command": "OMP_NUM_THREADS=4 {interpreter} {entry}"},
            "is started without a shell, which 'OMP_NUM_THREADS=4' needs; set that in trainer.env",
        ),
        ({"command": "x{launcher} {entry}"}, "{launcher} is a word by itself"),
        (
            {"resume": "--resume {init_checkpoint}"},
            "script.resume: got '--resume {init_checkpoint}'; unknown",
        ),
        ({"init": "--init x"}, "script.init: got '--init x'; has no {init_checkpoint}"),
        ({"backend": "--b x"}, "script.backend: got '--b x'; has no {backend}"),
        ({"backend": "env {backend}"}, "script.backend: got 'env {backend}'; write: env NAME={backend}"),
        ({"options": "--{name}"}, "script.options: got '--{name}'; has no {value}"),
        (
            {"progress": ["Epoch (?P<epoch>\\d+"]},
            "script.progress.0: got 'Epoch (?P<epoch>\\\\d+'; is no reg",
        ),
        ({"progress": ["Epoch (?P<epoch>\\d+)", "x"]}, "script.progress.1: got 'x'; has no named group"),
        (
            {"checkpoints": "a*/{epoch}.pt"},
            "script.checkpoints: got 'a*/{epoch}.pt'; is a name in the work dir",
        ),
        ({"checkpoints": "../{epoch}.pt"}, "script.checkpoints: got '../{epoch}.pt'; is a name in"),
        ({"checkpoints": "/a/{epoch}.pt"}, "script.checkpoints: got '/a/{epoch}.pt'; is a name in"),
        ({"checkpoints": "a/../../{epoch}/"}, "script.checkpoints: got 'a/../../{epoch}/'; is a name in"),
        (
            {"checkpoints": "{epoch}_{iter}.pt"},
            "script.checkpoints: got '{epoch}_{iter}.pt'; knows *, ? and one",
        ),
        (
            {"metrics": "m_*.csv"},
            "script.metrics: got 'm_*.csv'; expected the name of one file in the work dir",
        ),
        ({"metrics": "{epoch}.csv"}, "script.metrics: got '{epoch}.csv'; expected the name of one file"),
        (
            {"metrics": "a/m.csv"},
            "script.metrics: got 'a/m.csv'; expected the name of one file in the work dir",
        ),
        ({"sample": "x"}, "script.sample: unknown key; did you mean sample_log?"),
    ],
)
def test_a_mistake_is_named_with_its_place(change: dict[str, Any], wanted: str) -> None:
    (said,) = problems({"command": COMMAND, **change})
    assert said.startswith("runs.r.trainer.script")
    assert wanted in said


@pytest.mark.parametrize("command", ["{launcher} -m {module} -x", "env A=1 {interpreter} {entry}"])
def test_a_command_may_name_a_module_or_begin_with_any_program(command: str) -> None:
    assert not problems({"command": command})


def test_the_section_and_the_kind_go_together() -> None:
    assert problems(None) == ["runs.r.trainer.script: kind script needs it; write at least `command`"]
    assert problems({"command": COMMAND}, kind="mmcv") == ["runs.r.trainer.script: kind mmcv has none"]
    assert problems({}) == [
        said for said in problems({}) if said.startswith("runs.r.trainer.script.command: miss")
    ]


def test_a_ladder_needs_a_way_to_tell_the_script_its_backend() -> None:
    """One rank talks to nobody, and a ladder of one backend is the script's own."""
    assert not problems({"command": COMMAND}, ranks=2), "NCCL needs GPUs, and none is asked for"
    (said,) = problems({"command": COMMAND}, ranks=2, backends=["nccl", "gloo"])
    assert said.startswith(
        "runs.r.stages.s.backends: nothing tells the script which of gloo, nccl; set trainer."
    )
    assert not problems({"command": COMMAND}, ranks=2, backends=["gloo"])
    both = {"ranks": 2, "backends": ["nccl", "gloo"]}
    assert not problems({"command": COMMAND, "backend": "env B={backend}"}, **both)
    assert not problems({"command": COMMAND + " -b {backend}"}, **both)
    assert not problems({"command": COMMAND})


@pytest.mark.parametrize(
    "names",
    [
        "model_{epoch}.bin",
        "*.pkl",
        "*.safetensors",
        "checkpoint-{iter}",
        "ckpt",
        "m.pt?x",
    ],
)
def test_names_that_are_never_found_are_refused_with_those_that_are(names: str) -> None:
    (said,) = problems({"command": COMMAND, "checkpoints": names})
    assert said.startswith(
        f"runs.r.trainer.script.checkpoints: got '{names}'; finds none: a checkpoint is a file"
    )
    assert ".pth, .pt, .pth.tar, .ckpt; of a folder, as of Hugging Face" in said


@pytest.mark.parametrize(
    "names",
    ["*", "a?", "m_{epoch}.PT", "m*.tar", "*th", "{iter}.p*", "last.ckpt", "a[12]", "c-*/", "a b/c/*.pt"],
)
def test_names_that_may_be_found_are_taken(names: str) -> None:
    assert problems({"command": COMMAND, "checkpoints": names}) == []


def test_a_key_of_a_checkpoint_is_dotted() -> None:
    assert problems({"command": COMMAND, "counted": "trainer.done"}) == []
    (said,) = problems({"command": COMMAND, "counted": "trainer..done"})
    assert said.startswith("runs.r.trainer.script.counted: got 'trainer..done'")
