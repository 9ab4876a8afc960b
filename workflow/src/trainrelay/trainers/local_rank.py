"""Whether a training script takes the option that torch.distributed.launch gives each rank.

torch before 2.0 passes --local_rank=N, later ones --local-rank=N, which are two options to argparse.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from trainrelay.system.files import read_once
from trainrelay.trainers.base import LaunchRequest
from trainrelay.trainers.python_values import parsed

_LARGEST = 200_000  # bytes of a script that is worth its seconds
_ARGPARSE = re.compile(r"^(import argparse|from argparse import .*\bArgumentParser\b)", re.MULTILINE)
# With these a parser may take more than its file declares, or another reads the command line before it.
_LOOSE = re.compile(
    r"\wargparse|argparse as|argv|parse_known|intermixed|REMAINDER|'\.\.\.'|subparsers|prefix_chars"
    r"|parents=(?!True)|(?<!\bArgument)Parser\(|class \w+\([^)]{0,200}Parser\b"
    r"|\.error =|\b(exec|globals|locals)\(|(?<![.\w])eval\(|[(,] ?[\w.]*(_group|ArgumentParser)\("
)


def local_rank_misfit(request: LaunchRequest, argv: Sequence[str], *, certain: bool) -> Iterator[str]:
    """A sentence on an option of the launcher that the script certainly does not take, or may not."""
    if request.launch_module != "torch.distributed.launch" or "--use_env" in argv:
        return
    release = read_once(torch_release, request.interpreter, request.prefix).partition(".")[0]
    options, takes_no_other = read_once(declared, Path(request.root) / request.entry)
    both = ["--local_rank", "--local-rank"]
    passed = [both[int(release) > 1]] if release else both
    # To argparse the beginning of an option is as good as all of it.
    taken = [any(option.startswith(one) for option in options) for one in passed]
    if not all(taken) and certain == (takes_no_other and not any(taken)):
        torch = f" of torch {release}" if release else ""
        gives = f"torch.distributed.launch{torch} gives each rank {' or '.join(passed)}"
        declares = "does not declare;" if certain else "is not seen to declare; if it takes no such option,"
        yield f"{gives}, which {request.entry} {declares} set trainer.launch: torch.distributed.run"


def torch_release(interpreter: str, prefix: tuple[str, ...] = ()) -> str:
    """The version of a Python's torch, by the files beside it; empty where it is not known."""
    if prefix:  # the same path may be another Python inside
        return ""
    python, found = Path(shutil.which(interpreter) or interpreter), set[str]()
    files = python.parent.parent.glob("lib/python3*/site-packages/torch/version.py")
    with suppress(OSError), python.open("rb") as program:
        if program.read(4) == b"\x7fELF":  # a script may start a Python that is elsewhere
            for text in [file.read_text(errors="replace") for file in files if file.is_file()]:
                found |= set(re.findall(r"(?m)^__version__ = ['\"](\d+\.\d+)", text))
    return found.pop() if len(found) == 1 else ""


def declared(script: Path) -> tuple[frozenset[str], bool]:
    """The options that a script's own file declares, and whether its parser certainly takes no other."""
    with suppress(OSError, RecursionError):
        readable = script.is_file() and script.stat().st_size <= _LARGEST
        tree = parsed(script) if readable else ast.Module([], [])
        nodes, code = [*ast.walk(tree)], ast.unparse(tree)
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        adds = [call for call in calls if getattr(call.func, "attr", "") == "add_argument"]
        names = [name for call in adds for name in call.args]
        options = frozenset(str(name.value) for name in names if isinstance(name, ast.Constant))
        functions = {n.name: n for n in nodes if isinstance(n, ast.FunctionDef) and not n.decorator_list}
        gives = "|".join(name for name, one in functions.items() if "ArgumentParser(" in ast.unparse(one))
        made = "|".join(re.findall(r"(?m)^ *(\w+) = .*(?:\bArgumentParser|_group)\(", code))
        # A parser that is given to other code may get more options there.
        own = {id(node.value) for node in nodes if isinstance(node, ast.Attribute | ast.Return)}
        used = [node for node in nodes if isinstance(node, ast.Name) and node.id in made.split("|")]
        given = any(isinstance(one.ctx, ast.Load) and id(one) not in own for one in used)
        got = re.findall(rf"(?m)^( *)(\w+) = (?:{gives})\(\)\n\1.*\b\2\.parse_args\(\)", code)
        parsers = {*made.split("|"), *(name for _, name in got)}
        parses = [re.search(r"\b(\w+)\.parse_args\(\)", text) for text in _sure(tree.body, {**functions})]
        whole = (
            all(isinstance(name, ast.Constant) for name in names)
            and len(re.findall(r"\.add_argument\b", code)) == len(adds)
            and _ARGPARSE.search(code)
            and not (_LOOSE.search(code) or given)
            and any(found[1] in parsers for found in parses if found)
        )
        return options, bool(whole)
    return frozenset(), False


def _sure(body: Sequence[ast.stmt], functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """The text of statements that are certain to run; a function is entered once."""
    for one in body:
        text = ast.unparse(one)
        if isinstance(one, ast.If) and text.startswith("if __name__ =="):
            yield from _sure(one.body, functions)
        elif isinstance(one, ast.Expr | ast.Assign | ast.Return):
            yield text
            for name in [getattr(n.func, "id", "") for n in ast.walk(one) if isinstance(n, ast.Call)]:
                yield from _sure(functions.pop(name).body if name in functions else (), functions)
        elif "return" in text and not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return
