"""Trainer configs are read as syntax trees: no code runs, comments and formatting do not count."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trainrelay.trainers.mmcv import Mmcv

read_config = Mmcv().read_config

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


def values(checkout: Path, text: str = OWN) -> Mapping[str, Any]:
    (checkout / "configs/stage/e2e.py").write_text(text)
    return read_config(checkout, "configs/stage/e2e.py").values


def test_names_of_earlier_literals_are_resolved(checkout: Path) -> None:
    literals = read_config(checkout, "configs/stage/e2e.py").literals
    assert literals["runner.max_epochs"] == 20
    assert literals["optimizer.lr"] == 2e-4
    assert literals["load_from"] == "ckpts/track_map.pth"


def test_comments_formatting_and_docstrings_change_nothing(checkout: Path) -> None:
    before = values(checkout)
    formatted = OWN.replace("# a comment", "# another").replace("lr=lr, ", "\n    lr = lr,\n")
    formatted = '"""About."""\n' + formatted
    formatted = formatted.replace('"AdamW"', "'AdamW'")
    assert values(checkout, formatted) == before


def test_renaming_the_file_or_moving_the_checkout_changes_nothing(checkout: Path) -> None:
    before = values(checkout)
    (checkout / "configs/stage/e2e.py").rename(checkout / "configs/stage/other.py")
    moved = checkout.rename(checkout.with_name("moved"))
    assert read_config(moved, "configs/stage/other.py").values == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("2e-4", "1e-4"), ("p=0.5", "p=0.6"), ("lr_mult=0.1", "lr_mult=1"), ("import", "import os\nos.x()")],
)
def test_every_change_of_a_value_shows(checkout: Path, old: str, new: str) -> None:
    changed = OWN.replace(old, new) if old in OWN else OWN + new
    assert values(checkout) != values(checkout, changed)


def test_a_change_in_a_base_shows(checkout: Path) -> None:
    before = values(checkout)
    (checkout / "configs/_base_/runtime.py").write_text(BASE.replace("nccl", "gloo"))
    assert values(checkout) != before


def test_a_change_far_inside_a_long_value_shows(checkout: Path) -> None:
    long = OWN + "classes = [" + ", ".join(f"'c{n}'" for n in range(200)) + "]\n"
    assert values(checkout, long) != values(checkout, long.replace("'c199'", "'c200'"))


def test_a_name_assigned_twice_gives_another_the_value_that_it_had(checkout: Path) -> None:
    found = values(checkout, "a = 1\nb = a\na = 2\n")
    assert (found["a"], found["b"]) == (2, 1)


def test_code_in_a_config_is_not_executed(checkout: Path) -> None:
    mark = checkout / "ran"
    found = values(checkout, f"open({str(mark)!r}, 'w')\nx = __import__('os').system('touch {mark}')\n")
    assert not mark.exists()
    assert "x" in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("_base_ = './e2e.py'\n", "leads back to itself"),
        ("_base_ = './missing.py'\n", "No such file"),
        ("a = (\n", "was never closed"),
        ("_base_ = [1]\n", "not a plain list of file names"),
        ("_base_ = 5\n", "not a plain list of file names"),
        ("_base_ = ['a.py'] + []\n", "not a plain list of file names"),
        ("a = ['./missing.py']\n_base_ = a\n", "No such file"),
        ("a = {{_base_.b}}\n", "not a plain list of file names"),
        ("a = '\x00'\n", "null byte"),
    ],
)
def test_an_unreadable_config_carries_its_problem(checkout: Path, text: str, problem: str) -> None:
    (checkout / "configs/stage/e2e.py").write_text(text)
    found = read_config(checkout, "configs/stage/e2e.py")
    assert found.problem is not None
    assert problem in found.problem
    assert not found.settings
