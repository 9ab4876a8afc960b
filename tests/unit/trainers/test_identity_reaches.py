"""What a training is made from counts wherever it is written: bases of any format, constants, other files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mmcv import Config

from trainrelay.trainers import TRAINERS


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def stated(root: Path, config: str, **options: Any) -> dict[str, str]:
    trainer = TRAINERS["metriclogger" if config.startswith("main") else "mmcv"]
    facts = trainer.read_config(root, config)
    assert facts.problem is None
    return trainer.effective_settings(facts, options)


def changes(root: Path, config: str, name: str, old: str, new: str) -> set[str]:
    """The ingredients that an edit of one file changes."""
    text, before = (root / name).read_text(), stated(root, config)
    assert old in text
    (root / name).write_text(text.replace(old, new))
    now = stated(root, config)
    return {key.removeprefix("config: ") for key in before | now if before.get(key) != now.get(key)}


# ------------------------------------------------------------------------------- bases of mmcv

OWN = "_base_ = ['{}', 'c.py']\nmodel = dict(lr={{{{ _base_.optimizer.lr }}}}, tag='{{{{ fileExtname }}}}')\n"
DATA = {"optimizer": {"lr": 0.01, "nesterov": True, "none": None}, "steps": [8, 11], "data": {}}
YAML = "optimizer: {lr: 0.01, nesterov: yes, none: null}\nsteps:\n- 8\n- 11\ndata: {}\n"
BASES = {"b.json": json.dumps(DATA), "b.yaml": YAML, "b.yml": YAML}


@pytest.mark.parametrize("base", BASES)
def test_a_base_in_json_or_yaml_counts_as_the_values_that_mmcv_reads(tmp_path: Path, base: str) -> None:
    write(tmp_path, {base: BASES[base], "c.py": "queue = 3\n", "own.py": OWN.format(base)})
    real = Config.fromfile(str(tmp_path / "own.py"))._cfg_dict.to_dict()
    facts = TRAINERS["mmcv"].read_config(tmp_path, "own.py")
    assert facts.values == real
    assert facts.literals["optimizer.lr"] == 0.01
    assert stated(tmp_path, "own.py", **{"optimizer.lr": 0.01}) == stated(tmp_path, "own.py")
    assert changes(tmp_path, "own.py", base, "0.01", "0.02") == {"optimizer.lr", "model.lr"}
    assert changes(tmp_path, "own.py", base, "11", "12") == {"steps"}


def test_a_base_of_a_base_in_yaml_counts_and_its_places_are_filled(tmp_path: Path) -> None:
    one = "_base_: base.py\nrate: {{ _base_.lr }}\nname: {{ fileBasenameNoExtension }}-x\n"
    write(tmp_path, {"base.py": "lr = 1\n", "one.yaml": one, "own.py": "_base_ = 'one.yaml'\n"})
    assert stated(tmp_path, "own.py") == {"config: lr": "1", "config: rate": "1", "config: name": "'one-x'"}


@pytest.mark.parametrize(
    ("base", "text", "problem"),
    [
        ("b.json", "{", "b.json"),
        ("b.json", "[1]", "b.json: is not a mapping"),
        ("b.yaml", "a: [", "b.yaml"),
        ("b.yaml", "a: !!python/object/apply:os.system ['true']", "b.yaml"),
        (
            "b.yaml",
            "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40)),
            "more than a config may hold",
        ),
        (
            "b.yaml",
            "a0: &a0 {k: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}]}}\n" for n in range(40)),
            "more than a config may hold",
        ),
        ("b.yaml", "a: &a [*a]", "b.yaml"),
    ],
)
def test_a_base_that_cannot_be_read_is_a_problem_in_words(
    tmp_path: Path, base: str, text: str, problem: str
) -> None:
    write(tmp_path, {base: text, "own.py": f"_base_ = '{base}'\n"})
    found = TRAINERS["mmcv"].read_config(tmp_path, "own.py").problem
    assert found is not None
    assert problem in found


def test_an_empty_value_is_not_an_absent_one(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"base.py": "neck = dict(a=1)\n", "own.py": "_base_ = 'base.py'\nneck = dict(_delete_=True)\n"},
    )
    assert stated(tmp_path, "own.py") == {"config: neck": "{}"}


# ------------------------------------------------------------------------------- code of other files


@pytest.mark.parametrize(
    "own",
    [
        "from settings import lr\noptimizer = dict(lr=lr)\n",
        "import settings\noptimizer = dict(lr=settings.lr)\n",
        "from settings import *\noptimizer = dict(lr=lr)\n",
        "from package import lr\n",
        "import package.settings as s\nlr = s.lr\n",
        "from mmcv import Config\nlr = Config.fromfile('settings.py').lr\n",
        "exec(open('configs/settings.py').read())\n",
        "def f():\n    from settings import lr\n    return lr\nlr = f()\n",
    ],
)
@pytest.mark.parametrize("where", ["configs", "."])
def test_a_change_in_a_file_that_a_config_takes_code_from_is_seen(
    tmp_path: Path, own: str, where: str
) -> None:
    if "configs" in own:
        where = "configs"
    write(
        tmp_path,
        {
            "configs/own.py": own,
            f"{where}/package/__init__.py": "from .settings import lr\n",
            f"{where}/package/settings.py": "lr = 1e-4\n",
            f"{where}/settings.py": "import settings\nlr = 1e-4  # a comment\n",
        },
    )
    for name in ("settings.py", "package/settings.py"):
        assert not changes(tmp_path, "configs/own.py", f"{where}/{name}", "lr = 1e-4", "lr  =  0.0001 # new")
    seen = [
        changes(tmp_path, "configs/own.py", f"{where}/{name}", "0.0001", "2e-4")
        for name in ("settings.py", "package/settings.py")
    ]
    assert sum(map(bool, seen)) == 1


def test_moving_the_checkout_changes_nothing_and_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    own = "import os, torch, elsewhere.deep\nfrom .. import up\nfrom settings import lr\nx = f('\\0.py')\n"
    write(tmp_path / "one", {"own.py": own + f"y = f('{'a' * 5000}.py')\n", "settings.py": "lr = 1\n"})
    before = stated(tmp_path / "one", "own.py")
    (tmp_path / "one").rename(tmp_path / "two")
    assert stated(tmp_path / "two", "own.py") == before


# ------------------------------------------------------------------------------- arguments

HEAD = """
import os
from settings import RATE
LR = 1e-4
BASE: float = 3
SIZES = dict(small=64)
SIZES['large'] = 128
def batch():
    return LR_STEP
LR_STEP = 7
"""


def script(*lines: str, head: str = HEAD) -> str:
    return "\n".join(
        [
            head,
            "def get_args_parser():",
            "    parser = argparse.ArgumentParser()",
            *(f"    {one}" for one in lines),
        ]
    )


def argument(default: str, kind: str = "float") -> str:
    return f"parser.add_argument('--x', default={default}, type={kind}, help='h')"


@pytest.mark.parametrize(
    ("lines", "old", "new"),
    [
        ([argument("LR")], "1e-4", "2e-4"),
        ([argument("LR * 2")], "1e-4", "2e-4"),
        ([argument("f'{LR}-x'", "str")], "1e-4", "2e-4"),
        ([argument("BASE")], "= 3", "= 4"),
        ([argument("SIZES['small']")], "64", "65"),
        ([argument("SIZES['large']")], "128", "129"),
        ([argument("batch()")], "STEP = 7", "STEP = 8"),
        ([argument("batch()")], "return LR_STEP", "return 5"),
        ([argument("RATE")], "import RATE", "import RATE2 as RATE"),
        (["local = LR", argument("local")], "1e-4", "2e-4"),
        (["if os.name:", "    local = 1", "else:", "    local = 2", argument("local")], "= 1", "= 5"),
        ([argument("None"), "parser.set_defaults(x=5)"], "x=5", "x=6"),
        ([argument("None"), "parser.set_defaults(x=LR)"], "1e-4", "2e-4"),
        ([argument("None"), "parser.set_defaults(**SIZES)"], "64", "65"),
        ([argument("None"), "if os.name:", "    parser.set_defaults(x=5)"], "x=5", "x=6"),
        (["parser.add_argument('--x', **SIZES)"], "64", "65"),
        (
            [
                "parser.add_argument('--x')",
                "for k, v in SIZES.items():",
                "    parser.add_argument('--' + k, default=v)",
            ],
            "64",
            "65",
        ),
        (["g = parser.add_argument_group('g')", "g.add_argument('--x', default=LR)"], "1e-4", "2e-4"),
        (["add(parser, 5)", "def add(p, n, d=1):", "    p.add_argument('--x', default=n)"], "5)", "6)"),
        (["add(parser)", "def add(p, n=1):", "    p.add_argument('--x', default=n)"], "n=1", "n=2"),
    ],
)
def test_a_change_of_what_a_default_is_made_from_is_seen(
    tmp_path: Path, lines: list[str], old: str, new: str
) -> None:
    write(tmp_path, {"main.py": script(*lines), "settings.py": "RATE = 1\n"})
    assert (
        not changes(tmp_path, "main.py", "main.py", "help='h'", "help='k'") if "help" in str(lines) else True
    )
    assert changes(tmp_path, "main.py", "main.py", old, new)


@pytest.mark.parametrize(
    ("lines", "same"),
    [
        ([argument("LR")], [argument("1e-4")]),
        ([argument("LR")], ["local = LR", argument("local")]),
        ([argument("LR")], [argument("5"), "parser.set_defaults(x=LR)"]),
        ([argument("LR")], [argument("LR"), "if os.name:", "    parser.set_defaults(x=1e-4)"]),
        ([argument("5")], ["local = 5", argument("local")]),
    ],
)
def test_a_default_that_is_spelled_otherwise_is_the_same(
    tmp_path: Path, lines: list[str], same: list[str]
) -> None:
    write(tmp_path, {"main.py": script(*lines), "main2.py": script(*same)})
    assert stated(tmp_path, "main.py") == stated(tmp_path, "main2.py")
    for name in ("main.py", "main2.py"):
        assert TRAINERS["metriclogger"].read_config(tmp_path, name).literals["x"] in (1e-4, 5)
        assert stated(tmp_path, name, x=1e-4)["config: x"] == "0.0001"


def test_what_has_no_hand_in_a_default_changes_nothing(tmp_path: Path) -> None:
    tail = "\ndef main(args):\n    lr = LR\n    train(lr, os)\nif __name__ == '__main__':\n    main(LR)\n"
    write(tmp_path, {"main.py": script(argument("os.environ['X']"), argument("batch()")) + tail})
    assert not changes(tmp_path, "main.py", "main.py", "train(lr, os)", "train(lr, os, 1)")
    assert not changes(tmp_path, "main.py", "main.py", "LR = 1e-4", "LR = 2e-4")


@pytest.mark.parametrize(
    "main",
    [
        "from options import get_parser\nget_parser()",
        "import options\noptions.get_parser()",
        "from lib import options as o\nparser = argparse.ArgumentParser(parents=[o.get_parser()])",
        "from lib import get_parser",
        "from options import *\nget_parser()",
        "from again import get_parser",
    ],
)
def test_arguments_that_another_file_declares_are_arguments(tmp_path: Path, main: str) -> None:
    options = script("add_all(parser)", head="LR = 1e-4\n") + (
        "\nget_parser = get_args_parser\n"
        "def add_all(p):\n    p.add_argument('--lr', default=LR, type=float)\n"
        "def other():\n    p.add_argument('--other', default=1)\n"
    )
    again = {"again.py": "from options import get_parser  # add_argument\n"}
    write(tmp_path, {"main.py": main, "options.py": options, "lib/options.py": options, **again})
    write(tmp_path, {"lib/__init__.py": "from .options import get_parser\n"})
    facts = TRAINERS["metriclogger"].read_config(tmp_path, "main.py")
    assert facts.problem is None
    assert facts.literals["lr"] == 1e-4
    assert "other" not in facts.switches
    assert stated(tmp_path, "main.py")["config: lr"] == "0.0001"


def test_what_parsers_give_is_what_is_claimed(tmp_path: Path) -> None:
    """argparse itself, over each order of defaults."""
    lines = [
        argument("LR"),
        "parser.set_defaults(x=5)",
        "parser.set_defaults(x=6)",
        argument("7").replace("x", "y"),
    ]
    text = script(*lines, "return parser", head="LR = 1e-4")
    write(tmp_path, {"main.py": text})
    names: dict[str, Any] = {"argparse": argparse}
    exec(text, names)
    real = vars(names["get_args_parser"]().parse_args([]))
    assert TRAINERS["metriclogger"].read_config(tmp_path, "main.py").literals == real
