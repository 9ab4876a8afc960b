"""The option that torch.distributed.launch gives each rank, and scripts that take it, do not, or may."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from trainrelay.trainers import RUNGS, TRAINERS, LaunchRequest
from trainrelay.trainers.local_rank import local_rank_misfit, torch_release

# As mmcv's tools/train.py.
IN_A_FUNCTION = """
import argparse
import os

class Config:
    def get(self):
        return 1

def parse_args():
    parser = argparse.ArgumentParser(description="Train a detector")
    parser.add_argument("config", nargs="?")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--gpus", type=int)
    parser.add_argument({flags}, type=int, default=0)
    args = parser.parse_args()
    if "LOCAL_RANK" not in os.environ:
        os.environ["LOCAL_RANK"] = "0"
    return args

def main():
    args = parse_args()
    if hasattr(os, "none"):
        torch.serialization.add_safe_globals([Config])

if __name__ == "__main__":
    main()
"""
# As MAE's main_pretrain.py.
RETURNED = """
import argparse
from pathlib import Path

def get_args_parser():
    parser = argparse.ArgumentParser("pre-training", add_help=False)
    parser.add_argument({flags}, default=-1, type=int)
    return parser

def main(args):
    print(args)

if __name__ == "__main__":
    args = get_args_parser()
    args = args.parse_args()
    Path().mkdir(parents=True, exist_ok=True)
    main(args)
"""
# As torchvision's references and many a small script.
AT_TOP = """
from argparse import ArgumentParser
parser = ArgumentParser()
parser.add_argument({flags}, type=int)
args = parser.parse_args()
"""
SHAPES = [IN_A_FUNCTION, RETURNED, AT_TOP]


def before_it_parses(code: str) -> str:
    return AT_TOP.replace("args =", f"{code}\nargs =")


# What is not certain to refuse it.
PERHAPS = {
    "all are let through": AT_TOP.replace("args = parser.parse_args", "args, _ = parser.parse_known_args"),
    "not the command line": AT_TOP.replace("parse_args()", "parse_args([])"),
    "taken out before": "import sys\nsys.argv = sys.argv[:1]\n" + AT_TOP,
    "an error that is none": before_it_parses("parser.error = print"),
    "the rest": before_it_parses("parser.add_argument('rest', nargs='...')"),
    "another module's parser": "from helper import parser\nparser.add_argument('--x')\nparser.parse_args()\n",
    "another module's parser, handed on": "import argparse, helper\n"
    "def get():\n    return helper.parser()\nparser = get()\nparser.parse_args()\n",
    "another module adds at once": "import helper\n"
    + AT_TOP.replace("ArgumentParser()", "helper.add(ArgumentParser())"),
    "another module adds": before_it_parses("import helper\nhelper.add_arguments(parser)"),
    "another module's group": before_it_parses("import helper\nhelper.add(parser.add_argument_group())"),
    "another module's parent": "import helper\n"
    + AT_TOP.replace("ArgumentParser()", "ArgumentParser(parents=[helper.parser])"),
    "its own class": AT_TOP.replace("parser = ", "class Own(ArgumentParser): pass\nparser = Own() or "),
    "handed on in a mapping": before_it_parses("import helper\nhelper.more(**{'parser': parser})"),
    "handed on in a list": before_it_parses("import helper\nmany = [1, parser]\nhelper.more(many)"),
    "handed on as one of two": before_it_parses("import helper\nhelper.more(parser if 1 else None)"),
    "handed on inside of a lambda": before_it_parses("import helper\nhelper.more(lambda: parser)"),
    "yielded": before_it_parses("import helper\ndef it(): yield parser\nhelper.more(it)"),
    "compared with": before_it_parses("import helper\nhelper.more(parser or 1)"),
    "by its name": before_it_parses("import helper\nhelper.more(globals())"),
    "by text": before_it_parses("exec('parser.add_argument(\"--local-rank\")')"),
    "names not written out": before_it_parses("for n in ('--local_rank',): parser.add_argument(n)"),
    "names of a list": before_it_parses("n = ['--local-rank']\nparser.add_argument(*n)"),
    "add_argument by another name": before_it_parses("add = parser.add_argument\nadd('--local-rank')"),
    "another package's argparse": AT_TOP.replace("from argparse", "from configargparse"),
    "another package by its name": "import jsonargparse as argparse\n"
    + AT_TOP.replace("from argparse import ArgumentParser", "").replace("Argum", "argparse.Argum"),
    "not where it is run": RETURNED.replace('__name__ == "__main__"', "False"),
    "not always": AT_TOP.replace("args = parser", "if __debug__: args = parser"),
    "left before": IN_A_FUNCTION.replace("def main():", "def main():\n    if __debug__: return"),
    "decorated": IN_A_FUNCTION.replace("def main", "@(lambda f: lambda: 0)\ndef main"),
    "a tool of another kind": "import os\nos.environ['LOCAL_RANK']\n",
    "no Python": "def (",
}


def request_of(checkout: Path, script: str | None, torch: str | None = "2.1.0") -> LaunchRequest:
    """A start of the script by a Python with this torch."""
    if script is not None:
        (checkout / "train.py").write_text(script)
    python = checkout / "env/bin/python"
    python.parent.mkdir(parents=True, exist_ok=True)
    if not python.exists():
        python.symlink_to(sys.executable)
    if torch is not None:
        file = checkout / "env/lib/python3.8/site-packages/torch/version.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"from typing import Optional\n__all__ = []\n__version__ = '{torch}'\ncuda = '11.1'\n"
        )
    return LaunchRequest(
        root=str(checkout),
        interpreter=str(python),
        launch_module="torch.distributed.launch",
        entry="train.py",
        config="a.py",
        work_dir="work",
        nproc_per_node=2,
        nodes=1,
        rung=RUNGS["gloo"],
        master_port=None,
        epochs=2,
    )


def misfits(request: LaunchRequest, argv: Sequence[str] = ()) -> tuple[bool, bool]:
    """Whether it is refused, and whether it is noted."""
    said = [[*local_rank_misfit(request, argv, certain=certain)] for certain in (True, False)]
    assert all(one.endswith("set trainer.launch: torch.distributed.run") for one in chain(*said))
    return bool(said[0]), bool(said[1])


REFUSED, NOTED, FINE = (True, False), (False, True), (False, False)


@pytest.mark.parametrize("shape", SHAPES, ids=["in a function", "returned", "at top"])
@pytest.mark.parametrize(
    ("flags", "torch", "expected"),
    [
        ('"--local_rank"', "1.12.1+cu113", FINE),
        ('"--local_rank"', "2.13.0+cpu", REFUSED),
        ('"--local_rank"', "10.0", REFUSED),
        ('"--local_rank"', None, NOTED),
        ('"--local-rank"', "1.9.0", REFUSED),
        ('"--local-rank"', "2.0.0", FINE),
        ('"--local-rank", "--local_rank"', "1.12.1", FINE),
        ('"--local-rank", "--local_rank"', "2.0.0", FINE),
        ('"--local-rank", "--local_rank"', None, FINE),
        ('"--local-rank-of-this-node"', "2.0.0", FINE),
        ('"--rank"', "1.12.1", REFUSED),
        ('"--rank"', None, REFUSED),
    ],
)
def test_only_what_torch_passes_must_be_declared(
    tmp_path: Path, shape: str, flags: str, torch: str | None, expected: tuple[bool, bool]
) -> None:
    assert misfits(request_of(tmp_path, shape.replace("{flags}", flags), torch)) == expected


@pytest.mark.parametrize("name", PERHAPS)
def test_what_may_take_it_is_noted_and_not_refused(tmp_path: Path, name: str) -> None:
    assert misfits(request_of(tmp_path, PERHAPS[name].replace("{flags}", '"--rank"'))) == NOTED


def test_a_script_that_is_not_here_is_not_refused(tmp_path: Path) -> None:
    assert misfits(request_of(tmp_path, None)) == NOTED
    (tmp_path / "train.py").mkdir()
    assert misfits(request_of(tmp_path, None)) == NOTED


@pytest.mark.process
@pytest.mark.parametrize("shape", SHAPES, ids=["in a function", "returned", "at top"])
@pytest.mark.parametrize("flags", ['"--local_rank"', '"--local-rank", "-l"', '"--local-rank-of-node"'])
def test_what_is_refused_ends_with_status_2_and_what_is_fine_does_not(
    tmp_path: Path, shape: str, flags: str
) -> None:
    request = request_of(tmp_path, shape.replace("{flags}", flags))
    argv = [sys.executable, "-S", str(tmp_path / "train.py"), "--local-rank=0"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if misfits(request) == REFUSED else 0), done.stderr


def test_other_launchers_pass_nothing(tmp_path: Path) -> None:
    request = request_of(tmp_path, AT_TOP.replace("{flags}", '"--rank"'))
    assert misfits(replace(request, launch_module="torch.distributed.run")) == FINE
    assert misfits(request, ["--use_env"]) == FINE


def test_scripts_that_declare_no_local_rank_get_none(tmp_path: Path) -> None:
    """Of DETR's family: the launcher is told to keep it to itself."""
    request = request_of(tmp_path, RETURNED.replace("{flags}", '"--lr"'))
    argv = TRAINERS["metriclogger"].launch(request, {}).argv
    assert misfits(request, argv) == FINE


def test_the_version_of_torch_is_read_from_the_files_of_its_python(tmp_path: Path) -> None:
    request = request_of(tmp_path, None, "1.12.1")
    assert torch_release(request.interpreter) == "1.12"
    assert torch_release(request.interpreter, ("box",)) == ""  # the one inside is another
    assert torch_release(str(tmp_path / "no/python")) == ""
    wrapper = tmp_path / "env/bin/in_a_container"
    wrapper.write_text("#!/bin/sh\nexec python\n")
    wrapper.chmod(0o755)
    assert torch_release(str(wrapper)) == ""
    other = tmp_path / "env/lib/python3.9/site-packages/torch/version.py"
    other.parent.mkdir(parents=True)
    other.write_text("__version__ = '2.0.0'\n")
    assert torch_release(request.interpreter) == ""  # either may be meant
    assert torch_release(sys.executable).startswith("2.")  # as the tests' own
