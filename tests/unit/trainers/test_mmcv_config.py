"""Trainer configs are read as syntax trees: no code runs, comments and formatting do not count."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trainrelay.records import RULES
from trainrelay.trainers.mmcv_config import read_config

BASE = "dist_params = dict(backend='nccl')\noptimizer = dict(type='SGD', lr=1.0)\n"
OWN = """
_base_ = ['../_base_/runtime.py']
total_epochs = 20  # a comment
lr = 2e-4
optimizer = dict(type="AdamW", lr=lr, paramwise_cfg=dict(custom_keys={"img_backbone": dict(lr_mult=0.1)}))
runner = dict(type="EpochBasedRunner", max_epochs=total_epochs)
load_from = "ckpts/track_map.pth"
pipeline = [dict(type="Load"), dict(type="Flip", p=0.5)]
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "configs/_base_").mkdir(parents=True)
    (tmp_path / "configs/stage").mkdir()
    (tmp_path / "configs/_base_/runtime.py").write_text(BASE)
    (tmp_path / "configs/stage/e2e.py").write_text(OWN)
    return tmp_path


def settings(checkout: Path, text: str = OWN) -> dict[str, str]:
    (checkout / "configs/stage/e2e.py").write_text(text)
    return dict(read_config(checkout, "configs/stage/e2e.py", rules=1).settings)


def test_settings_are_flat_and_name_their_file(checkout: Path) -> None:
    found = settings(checkout)
    assert found["config: optimizer.type"] == "'AdamW'"
    assert found["config: optimizer.paramwise_cfg.custom_keys.img_backbone.lr_mult"] == "0.1"
    assert found["runtime.py: optimizer.lr"] == "1.0"


def test_names_of_earlier_literals_are_resolved(checkout: Path) -> None:
    literals = read_config(checkout, "configs/stage/e2e.py").literals
    assert literals["runner.max_epochs"] == 20
    assert literals["optimizer.lr"] == 2e-4
    assert literals["load_from"] == "ckpts/track_map.pth"


def everything(checkout: Path, text: str = OWN) -> tuple[Mapping[str, str], Mapping[str, Any]]:
    """What counts under the rules of format 1, and today."""
    (checkout / "configs/stage/e2e.py").write_text(text)
    before, now = (read_config(checkout, "configs/stage/e2e.py", rules) for rules in (1, RULES))
    return before.settings, now.values


def test_comments_formatting_and_docstrings_change_nothing(checkout: Path) -> None:
    before = everything(checkout)
    formatted = OWN.replace("# a comment", "# another").replace("lr=lr, ", "\n    lr = lr,\n")
    formatted = '"""About."""\n' + formatted
    formatted = formatted.replace('"AdamW"', "'AdamW'")
    assert everything(checkout, formatted) == before


def test_renaming_the_file_or_moving_the_checkout_changes_nothing(checkout: Path) -> None:
    before = everything(checkout)
    (checkout / "configs/stage/e2e.py").rename(checkout / "configs/stage/other.py")
    moved = checkout.rename(checkout.with_name("moved"))
    facts = [read_config(moved, "configs/stage/other.py", rules) for rules in (1, RULES)]
    assert (facts[0].settings, facts[1].values) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("2e-4", "1e-4"), ("p=0.5", "p=0.6"), ("lr_mult=0.1", "lr_mult=1"), ("import", "import os\nos.x()")],
)
def test_every_change_of_a_value_shows(checkout: Path, old: str, new: str) -> None:
    changed = OWN.replace(old, new) if old in OWN else OWN + new
    assert settings(checkout) != settings(checkout, changed)


def test_a_change_in_a_base_shows(checkout: Path) -> None:
    before = settings(checkout)
    (checkout / "configs/_base_/runtime.py").write_text(BASE.replace("1.0", "2.0"))
    assert settings(checkout) != before


def test_a_change_far_inside_a_long_value_shows(checkout: Path) -> None:
    long = OWN + "classes = [" + ", ".join(f"'c{n}'" for n in range(200)) + "]\n"
    assert settings(checkout, long) != settings(checkout, long.replace("'c199'", "'c200'"))


def test_a_name_assigned_twice_keeps_both_values(checkout: Path) -> None:
    assert settings(checkout, "a = 1\nb = a\na = 2\n") == {
        "config: a": "1",
        "config: b": "a",
        "config: a#2": "2",
    }


def test_code_in_a_config_is_not_executed(checkout: Path) -> None:
    mark = checkout / "ran"
    found = settings(checkout, f"open({str(mark)!r}, 'w')\nx = __import__('os').system('touch {mark}')\n")
    assert not mark.exists()
    assert "config: x" in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("_base_ = './e2e.py'\n", "leads back to itself"),
        ("_base_ = './missing.py'\n", "No such file"),
        ("a = (\n", "was never closed"),
        ("_base_ = [1]\n", "not a plain list of file names"),
        ("_base_ = 5\n", "not a plain list of file names"),
        ("_base_ = ['a.py'] + []\n", "not a plain list of file names"),
        ("a = '\x00'\n", "null byte"),
    ],
)
def test_an_unreadable_config_carries_its_problem(checkout: Path, text: str, problem: str) -> None:
    (checkout / "configs/stage/e2e.py").write_text(text)
    found = read_config(checkout, "configs/stage/e2e.py")
    assert found.problem is not None
    assert problem in found.problem
    assert not found.settings
