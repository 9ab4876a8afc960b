"""What counts of mmcv configs is what their chain merges to; what only running them tells counts as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from trainrelay.trainers import TRAINERS
from trainrelay.trainers.mmcv_values import with_options

BASE = """
norm_cfg = dict(type="SyncBN", requires_grad=True)
optimizer = dict(type="AdamW", lr=2e-4, betas=(0.9, 0.999))
optimizer_config = dict(grad_clip=dict(max_norm=35, norm_type=2))
lr_config = dict(policy="CosineAnnealing", warmup_ratio=1.0 / 3, warmup_iters=500)
classes = ["car", "bus"]
model = dict(type="M", dims=32, norm=norm_cfg, heads=[dict(type="H", classes=classes, num=len(classes))])
"""
OWN = "_base_ = ['base.py']\nqueue = 3\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "base.py").write_text(BASE)
    return tmp_path


def counted(checkout: Path, own: str = OWN) -> Mapping[str, str]:
    (checkout / "own.py").write_text(own)
    trainer = TRAINERS["mmcv"]
    facts = trainer.read_config(checkout, "own.py")
    assert facts.problem is None
    return trainer.effective_settings(facts, {})


@pytest.mark.parametrize(
    "appended",
    [
        "optimizer = dict(lr=2e-4)",
        "optimizer = dict(lr=0.0002, type='AdamW')",
        "optimizer = dict(betas=[0.9, 0.999])",
        "optimizer_config = dict(grad_clip=dict(norm_type=2))",
        "optimizer = {'lr': .0002}",
        "optimizer = dict(lr=7)\noptimizer = dict(lr=2e-4)",
        "optimizer = dict(_delete_=True, type='AdamW', lr=2e-4, betas=(0.9, 0.999))",
        "optimizer = dict(_delete_=False, lr=2e-4)",
        "lr_config = dict(warmup_iters=500)",
        "lr_config = dict(warmup_ratio=1.0 / 3)",
        "classes = ['car', 'bus']",
        "model = dict(norm=dict(type='SyncBN'))",
        "model = dict(norm={{_base_.norm_cfg}})",
        "optimizer = dict(lr={{ _base_.optimizer.lr }})",
        "__lr = 2e-4\noptimizer = dict(lr=__lr)",
        "'only text'",
        "lr_config = dict(warmup_iters=1.0 / 3)\nlr_config = dict(warmup_iters=500)",
    ],
)
def test_what_says_the_inherited_value_is_no_change(checkout: Path, appended: str) -> None:
    assert counted(checkout, OWN + appended) == counted(checkout)


@pytest.mark.parametrize(
    ("appended", "key", "value"),
    [
        ("optimizer = dict(lr=1e-4)", "optimizer.lr", "0.0001"),
        ("optimizer = dict(_delete_=True, lr=2e-4)", "optimizer.type", None),
        ("optimizer = dict(lr=2e-4)\noptimizer = dict(lr=1e-4)", "optimizer.lr", "0.0001"),
        ("optimizer = dict(lr=2 * 1e-4)", "optimizer.lr", "2 * 0.0001"),
        ("lr = 2e-4\nlr = 1e-4\noptimizer = dict(lr=lr)", "optimizer.lr", "0.0001"),
        ("classes = ['car']", "classes", "['car']"),
        ("optimizer = None", "optimizer.lr", None),
        ("lr_config = dict(warmup_ratio=0.1)", "lr_config.warmup_ratio", "0.1"),
        ("lr_config = dict(warmup_ratio=1.0 / 4)", "lr_config.warmup_ratio", "1.0 / 4 over 1.0 / 3"),
        ("optimizer = make()", "optimizer._own_", "make() in config"),
        ("optimizer = dict(_delete_=made(), lr=1)", "optimizer._own_._delete_", "made() in config"),
        ("optimizer = dict(lr=scaled(2e-4))", "optimizer.lr", "scaled(0.0002) in config"),
        ("optimizer = dict(lr=2e-4, paramwise_cfg={'a.b': 1})", "optimizer.paramwise_cfg.['a.b']", "1"),
        ("norm_cfg = dict(type='BN')", "model.norm.type", "'SyncBN'"),
        (
            "model = dict(norm={{_base_.no}})",
            "model.norm._own_",
            "{{_base_.no}} with _base_ = ['base.py']",
        ),
    ],
)
def test_a_real_change_is_seen_in_the_value_that_it_ends_with(
    checkout: Path, appended: str, key: str, value: str | None
) -> None:
    before, now = counted(checkout), counted(checkout, OWN + appended)
    assert now != before
    assert now.get(f"config: {key}") == value


def test_a_base_renamed_or_written_into_the_child_is_no_change(checkout: Path) -> None:
    before = counted(checkout)
    (checkout / "base.py").rename(checkout / "other.py")
    assert counted(checkout, OWN.replace("base.py", "other.py")) == before
    assert counted(checkout, BASE + "queue = 3\n") == before


@pytest.mark.parametrize(
    "text",
    [
        "a = 1\nb = a + 1\na = 2",  # what it is made from is hidden by a later statement,
        "_base_ = 'base.py'\nnumber = 1\noptimizer = dict(lr=number * 3)\nnumber = 5",  # or by another file
        "a = [1]\nfor i in range(2):\n    a.append(i)\na = [7]",
        "a = 1\nif True:\n    b = a\na = 2",
    ],
)
def test_what_a_computed_value_is_made_from_counts_also_where_nothing_else_keeps_it(
    checkout: Path, text: str
) -> None:
    changed = text.replace("1", "9", 1)
    assert counted(checkout, text) != counted(checkout, changed)


def test_a_value_behind_a_computed_one_of_a_base_counts(checkout: Path) -> None:
    (checkout / "base.py").write_text("width = 1\nmodel = dict(dims=width * 2)\n")
    before = counted(checkout, OWN + "width = 5\n")
    (checkout / "base.py").write_text("width = 2\nmodel = dict(dims=width * 2)\n")
    assert counted(checkout, OWN + "width = 5\n") != before


@pytest.mark.parametrize(
    "code",
    [
        "optimizer['lr'] = 1",
        "optimizer.update(lr=1)",
        "opt = optimizer\nopt['lr'] = 1",
        "for group in [optimizer]:\n    group['lr'] = 1",
        "_ = optimizer.pop('lr')",
        "def f():\n    optimizer['lr'] = 1\nf()",
        "both = dict(a=optimizer)\nboth['a']['lr'] = 1",
        "from elsewhere import *",
        "from elsewhere import optimizer",
        "import elsewhere as optimizer",
        "with x as optimizer:\n    pass",
        "optimizer |= dict(lr=1)",
        "if x:\n    optimizer = dict(lr=1)",
    ],
)
def test_after_code_that_may_have_changed_it_a_value_is_not_known_anymore(checkout: Path, code: str) -> None:
    own = f"optimizer = dict(lr=2e-4)\n{code}\n"
    (checkout / "own.py").write_text(own)
    trainer = TRAINERS["mmcv"]
    facts = trainer.read_config(checkout, "own.py")
    without = trainer.effective_settings(facts, {})
    assert trainer.effective_settings(facts, {"optimizer.lr": 2e-4}) != without
    (checkout / "base.py").write_text(own)
    child = "_base_ = 'base.py'\n"
    assert counted(checkout, child + "optimizer = dict(lr=2e-4)\n") != counted(checkout, child)


@pytest.mark.parametrize(
    "code", ["import os", "names = [n for n in range(3)]", "for i in range(3):\n    pass"]
)
def test_code_leaves_alone_what_it_has_no_hand_in(checkout: Path, code: str) -> None:
    own = f"{OWN}{code}\n"
    assert counted(checkout, own + "optimizer = dict(lr=2e-4)\n") == counted(checkout, own)
    assert counted(checkout, own) != counted(checkout, OWN + code.replace("3", "4").replace("os", "sys"))


def test_an_option_that_says_what_stands_below_a_computed_value_is_a_change(checkout: Path) -> None:
    trainer = TRAINERS["mmcv"]
    (checkout / "own.py").write_text(OWN + "optimizer = make()\n")
    facts = trainer.read_config(checkout, "own.py")
    assert trainer.effective_settings(facts, {"optimizer.lr": 2e-4}) != trainer.effective_settings(facts, {})


def test_the_order_of_code_counts(checkout: Path) -> None:
    lines = ["a.append(1)", "a.append(2)"]
    one, other = "a = []\n" + "\n".join(lines), "a = []\n" + "\n".join(reversed(lines))
    assert counted(checkout, one) != counted(checkout, other)


def test_what_was_called_before_the_last_word_counts(checkout: Path) -> None:
    assert counted(checkout, "a = f(1)\na = f(2)") != counted(checkout, "a = f(3)\na = f(2)")
    assert counted(checkout, "a = f(1)\na = 2") != counted(checkout, "a = 2")


def test_files_of_one_name_both_count(checkout: Path) -> None:
    (checkout / "a").mkdir()
    (checkout / "a/base.py").write_text("import one\n")
    (checkout / "base.py").write_text("import two\n")
    own = "_base_ = ['a/base.py', 'base.py']\n"
    before = counted(checkout, own)
    (checkout / "a/base.py").write_text("import three\n")
    assert counted(checkout, own) != before


def test_a_config_of_lists_of_lists_ends(checkout: Path) -> None:
    doubled = "".join(f"a{n + 1} = [a{n}, a{n}]\n" for n in range(64))
    (checkout / "own.py").write_text("a0 = []\n" + doubled)
    problem = TRAINERS["mmcv"].read_config(checkout, "own.py").problem
    assert problem is not None
    assert "holds too much" in problem


def test_an_option_with_a_number_changes_that_entry_of_a_list_and_hides_no_other() -> None:
    """As mmcv does: pipeline.1.scale is of the second step, and a change of the first one is still seen."""
    values = {"pipeline": [{"type": "Load", "depth": 3}, {"type": "Resize", "scale": 1.0}]}
    changed = with_options(values, {"pipeline.1.scale": 0.5})
    assert changed["pipeline"] == [{"type": "Load", "depth": 3}, {"type": "Resize", "scale": 0.5}]
    assert with_options(values, {"pipeline.1.scale": 1.0}) == values
