"""What belongs to a training's identity, and what does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trainrelay.config import Config, parse
from trainrelay.trainers import option_text
from trainrelay.training.context import StageContext
from trainrelay.training.signature import UNREADABLE, differences, ingredients, signature


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("optimizer = dict(lr=0.1)\nlog_config = dict(interval=50)\n")
    (tmp_path / "b.py").write_text("optimizer = dict(lr=0.2)\nload_from = 'a.pth'\n")
    return tmp_path


def config_of(
    checkout: Path, trainer: dict[str, Any] | None = None, a: dict[str, Any] | None = None, out: str = "runs"
) -> Config:
    stages = {
        "a": {"config": "a.py", "epochs": 2, "backends": ["gloo"], **(a or {})},
        "b": {"config": "b.py", "epochs": 3, "backends": ["gloo"], "init_from": "a"},
    }
    how = {"kind": "mmcv", "root": str(checkout), "nproc_per_node": 2, "device": "cpu", **(trainer or {})}
    return parse({"out": out, "runs": {"r": {"trainer": how, "stages": stages}}})


def parts(checkout: Path, stage: str = "a", **changes: Any) -> dict[str, str]:
    return ingredients(StageContext(config_of(checkout, **changes), "r", stage))


@pytest.mark.parametrize(
    "changes",
    [
        {"a": {"backends": ["nccl-no-p2p", "gloo"]}},
        {"a": {"probe": False, "hook": False, "hang_timeout_s": 60.0}},
        {"a": {"options": {"data.workers_per_gpu": 8}}},
        {"a": {"options": {"log_config.interval": 1}}},
        {"a": {"resources": {"runtime_min": 5, "partition": "x"}}},
        {"a": {"work_dir": "w", "log": "x.log", "master_port": 1234, "gate": False}},
        {"a": {"promotion": {"target": "ckpts/x.pth"}}},
        {"a": {"epochs": 9}},
        {"trainer": {"env": {"A": "b"}, "interpreter": "/opt/python"}},
        {"trainer": {"launch": "torch.distributed.launch", "entry": "t.py"}},
        {"out": "elsewhere"},
    ],
)
def test_what_leaves_the_weights_alone_is_not_in_it(checkout: Path, changes: dict[str, Any]) -> None:
    assert parts(checkout, **changes) == parts(checkout)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"a": {"options": {"optimizer.lr": 0.3}}}, "config: optimizer.lr"),
        ({"a": {"options": {"data.samples_per_gpu": 2}}}, "config: data.samples_per_gpu"),
        ({"a": {"seed": 1}}, "seed"),
        ({"a": {"deterministic": True}}, "deterministic"),
        ({"trainer": {"nproc_per_node": 4}}, "world size"),
    ],
)
def test_what_changes_the_weights_is_named_by_its_key(
    checkout: Path, changes: dict[str, Any], key: str
) -> None:
    found = differences(parts(checkout), parts(checkout, **changes))
    assert [difference.key for difference in found] == [key]


@pytest.mark.parametrize("value", [0.1, "0.1", "1e-1"])
def test_an_option_that_says_what_the_config_says_changes_nothing(checkout: Path, value: Any) -> None:
    assert parts(checkout, a={"options": {"optimizer.lr": value}}) == parts(checkout)


def test_null_is_not_what_an_absent_setting_says(checkout: Path) -> None:
    """Switching off what the config sets inside a dictionary is another training."""
    (checkout / "a.py").write_text("optimizer_config = dict(grad_clip=dict(max_norm=35))\n")
    found = differences(parts(checkout), parts(checkout, a={"options": {"optimizer_config.grad_clip": None}}))
    assert [str(difference) for difference in found] == [
        "config: optimizer_config.grad_clip: (absent) -> None",
        "config: optimizer_config.grad_clip.max_norm: 35 -> (absent)",
    ]


def test_a_difference_names_the_value_before_also_where_the_option_is_the_first_mention(
    checkout: Path,
) -> None:
    found = differences(parts(checkout), parts(checkout, a={"options": {"optimizer.lr": "5e-2"}}))
    assert [str(difference) for difference in found] == ["config: optimizer.lr: 0.1 -> 0.05"]


def test_an_option_over_what_is_computed_is_a_change_whatever_it_says(checkout: Path) -> None:
    (checkout / "a.py").write_text("optimizer = dict(lr=1.0 / 10)\n")
    found = differences(parts(checkout), parts(checkout, a={"options": {"optimizer.lr": 0.1}}))
    assert [str(difference) for difference in found] == ["config: optimizer.lr: 1.0 / 10 -> 0.1"]


def test_an_option_that_moves_into_the_config_changes_nothing(checkout: Path) -> None:
    options = {
        "optimizer.lr": "3e-4",
        "optimizer.type": "SGD",
        "optimizer.betas": ["9e-1", 0.999],
        "fp16": True,
    }
    before = parts(checkout, a={"options": options})
    appended = "optimizer = dict(type='SGD', lr=3e-4, betas=(0.9, 0.999))\nfp16 = True\n"
    (checkout / "a.py").write_text(appended)
    assert parts(checkout) == before


def test_what_is_left_out_is_so_by_its_own_key_also_where_code_has_it(checkout: Path) -> None:
    text = "data = dict(workers_per_gpu={}, length={})\ndata['train'] = 1\n"
    (checkout / "a.py").write_text(text.format(4, 5))
    before = parts(checkout)
    (checkout / "a.py").write_text(text.format(8, 5))
    assert parts(checkout) == before
    (checkout / "a.py").write_text(text.format(4, 6))
    assert parts(checkout) != before


def test_one_number_is_one_option_however_it_is_spelled(checkout: Path) -> None:
    spelled = [parts(checkout, a={"options": {"optimizer.lr": value}}) for value in (2e-4, "2e-4", "0.0002")]
    assert spelled[0] == spelled[1] == spelled[2]


def test_a_setting_of_the_trainer_config_is_named_with_both_values(checkout: Path) -> None:
    before = parts(checkout)
    (checkout / "a.py").write_text("optimizer = dict(lr=0.05)\n")
    assert [str(difference) for difference in differences(before, parts(checkout))] == [
        "config: optimizer.lr: 0.1 -> 0.05"
    ]


def test_a_stage_changes_with_the_stage_it_starts_from(checkout: Path) -> None:
    before = parts(checkout, "b")
    (checkout / "a.py").write_text("optimizer = dict(lr=0.05)\n")
    found = differences(before, parts(checkout, "b"))
    assert [difference.key for difference in found] == ["init_from"]


def test_a_stage_changes_with_the_epoch_that_is_handed_to_it(checkout: Path) -> None:
    assert parts(checkout, "b") != parts(checkout, "b", a={"epochs": 4})
    pinned = {"checkpoint": {"epoch": 1}}
    assert parts(checkout, "b") != parts(checkout, "b", a=pinned)
    assert parts(checkout, "b", a=pinned) == parts(checkout, "b", a={**pinned, "epochs": 4})


def test_the_best_of_a_training_is_named_by_its_metric_and_not_by_how_many_epochs(checkout: Path) -> None:
    """Which epoch that is, only the promoted checkpoint's sha256 tells; another metric is another start."""
    best = {"checkpoint": {"best": "amota", "mode": "max"}}
    start = parts(checkout, "b", a=best)["init_from"]
    assert re.fullmatch(r"best amota \(max\) of the training [0-9a-f]{12}", start)
    assert parts(checkout, "b", a={**best, "epochs": 9})["init_from"] == start
    for other in ({"best": "NDS", "mode": "max"}, {"best": "amota", "mode": "min"}, {"epoch": 2}):
        assert parts(checkout, "b", a={"checkpoint": other})["init_from"] != start
    assert parts(checkout, "b", a={**best, "seed": 1})["init_from"] != start
    assert parts(checkout, a=best) == parts(checkout), "it trains the same"


def test_an_unreadable_trainer_config_is_said_and_not_guessed(checkout: Path) -> None:
    (checkout / "a.py").unlink()
    assert "No such file" in parts(checkout)[UNREADABLE]


@pytest.mark.parametrize("first", [{}, {"checkpoint": {"best": "amota", "mode": "max"}}])
@pytest.mark.parametrize("text", [None, "optimizer = dict("])
def test_an_earlier_stage_that_cannot_be_read_changes_no_later_one(
    checkout: Path, text: str | None, first: dict[str, Any]
) -> None:
    # It may have a checkout of its own, which is not on this machine, or be edited at this moment.
    before = parts(checkout, "b", a=first)
    (checkout / "a.py").write_text(text) if text else (checkout / "a.py").unlink()
    unknown = parts(checkout, "b", a=first)
    assert differences(before, unknown) == []
    assert differences(unknown, before) == []
    alone = {key: value for key, value in unknown.items() if key != "init_from"}
    assert [one.key for one in differences(unknown, alone)] == ["init_from"]


def test_nor_does_one_before_that(checkout: Path) -> None:
    config = config_of(checkout).model_dump(by_alias=True, exclude_unset=True)
    config["runs"]["r"]["stages"]["c"] = {**config["runs"]["r"]["stages"]["b"], "init_from": "b"}
    last = StageContext(parse(config), "r", "c")
    before = ingredients(last)
    (checkout / "a.py").unlink()
    assert differences(before, ingredients(last)) == []


def test_the_digest_is_over_ingredients_and_epochs() -> None:
    assert signature({"a": "1", "b": "2"}, 3) == signature({"b": "2", "a": "1"}, 3)
    assert signature({"a": "1"}, 3) != signature({"a": "1"}, 4)
    assert signature({"a": "1"}, 3) != signature({"a": "2"}, 3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (4, "4"),
        (0.1, "0.1"),
        ("gloo", "gloo"),
        (None, "None"),
        ([1, "a", True], "[1,a,True]"),
    ],
)
def test_values_are_written_as_cfg_options_takes_them(value: Any, text: str) -> None:
    assert option_text(value) == text
