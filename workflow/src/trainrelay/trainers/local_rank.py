"""Whether a training script takes the option that torch.distributed.launch gives each rank.

torch before 2.0 passes --local_rank=N, later ones --local-rank=N, which are two options to argparse.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from trainrelay.system.files import read_once
from trainrelay.trainers.base import LaunchRequest
from trainrelay.trainers.python_values import parsed, targets

_PASSED = {1: "--local_rank", 2: "--local-rank"}  # by the first number of torch's version
_ARGPARSE = re.compile(r"^(import argparse|from argparse import .*\bArgumentParser\b)", re.MULTILINE)
_COMPOUND = ast.If | ast.For | ast.While | ast.With | ast.Try
_MADE = re.compile(r"(\bArgumentParser|_group)\(")
# With these a parser may take more than its file declares, or another reads the command line before it.
_LOOSE = re.compile(
    r"\wargparse|argparse as|argv|parse_known|intermixed|REMAINDER|'\.\.\.'|subparsers|parents=|prefix_chars"
    r"|(?<!\bArgument)Parser\(|class .*Parser\b|[(,] ?\w+\.\w+_group\("
)


def local_rank_misfit(request: LaunchRequest, argv: Sequence[str]) -> tuple[str | None, str | None]:
    """A sentence that the script does not take the launcher's option, or may not: one of them, or none."""
    if request.launch_module != "torch.distributed.launch" or "--use_env" in argv:
        return None, None
    release = read_once(torch_release, request.interpreter)
    options, whole = read_once(read_script, Path(request.root) / request.entry)
    passed = [_PASSED[min(release, 2)]] if release else [*_PASSED.values()]
    # To argparse the beginning of an option is as good as all of it.
    taken = [any(option.startswith(one) for option in options) for one in passed]
    if all(taken):
        return None, None
    certain = whole and not any(taken)
    torch = f" of torch {release}" if release else ""
    gives = f"torch.distributed.launch{torch} gives each rank {' or '.join(passed)}"
    instead = "set trainer.launch: torch.distributed.run"
    if certain:
        return f"{gives}, which {request.entry} does not declare; {instead}", None
    declared = "is not seen to declare both" if any(taken) else "is not seen to declare"
    return None, f"{gives}, which {request.entry} {declared}; if the ranks exit with status 2, {instead}"


def torch_release(interpreter: str) -> int | None:
    """The first number of the version of a Python's torch, by the files beside it; None: not known."""
    found, prefix = set[str](), Path(shutil.which(interpreter) or interpreter).parent.parent
    for file in prefix.glob("lib/python3*/site-packages/torch/version.py"):
        with suppress(OSError):
            text = file.read_text(errors="replace")
            found |= set(re.findall(r"^__version__ = ['\"](\d+)\.", text, re.MULTILINE))
    return int(found.pop()) if len(found) == 1 else None


def read_script(path: Path) -> tuple[frozenset[str], bool]:
    """The options that a script's own file declares, and whether its parser certainly takes no other."""
    with suppress(OSError, RecursionError):
        if path.is_file():
            return _read(parsed(path))
    return frozenset(), False


def _read(tree: ast.Module) -> tuple[frozenset[str], bool]:
    nodes, code = [*ast.walk(tree)], ast.unparse(tree)
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    named = [name for call in calls if _method(call) == "add_argument" for name in call.args]
    options = [name.value for name in named if isinstance(name, ast.Constant)]
    functions = {n.name: n.body for n in nodes if isinstance(n, ast.FunctionDef) and not n.decorator_list}
    made = [node for node in nodes if isinstance(node, ast.Assign) and _MADE.search(ast.unparse(node.value))]
    parsers = {name for one in made for name in targets(one)}
    # A parser that is given to other code may get more options there.
    kept = {node.value for node in nodes if isinstance(node, ast.Attribute | ast.Return)}
    read = {n for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and n.id in parsers}
    certain = (
        read <= kept
        and len(options) == len(named)
        and len(re.findall(r"\.add_argument\b", code)) == [*map(_method, calls)].count("add_argument")
        and _ARGPARSE.search(code)
        and not _LOOSE.search(code)
        and any(_parses(one, before, parsers, functions) for before, one in _sure(tree.body, {**functions}))
    )
    return frozenset(map(str, options)), bool(certain)


def _sure(body: list[ast.stmt], functions: dict[str, list[ast.stmt]]) -> Iterator[tuple[ast.stmt, ast.stmt]]:
    """Statements that are certain to run, each with the one before it; a function is entered once."""
    for before, one in pairwise([ast.Pass(), *body]):
        nodes = [*ast.walk(one)]
        if isinstance(one, ast.If) and ast.unparse(one.test).startswith("__name__ =="):
            yield from _sure(one.body, functions)
        elif isinstance(one, ast.Expr | ast.Assign | ast.Return):
            yield before, one
            for name in [getattr(node.func, "id", "") for node in nodes if isinstance(node, ast.Call)]:
                yield from _sure(functions.pop(name, []), functions)
        elif isinstance(one, _COMPOUND) and any(isinstance(node, ast.Return) for node in nodes):
            return


def _parses(one: ast.stmt, before: ast.stmt, parsers: set[str], functions: Container[str]) -> bool:
    """Whether a statement lets a parser of this script parse the command line."""
    if found := re.search(r"\b(\w+)\.parse_args\(\)", ast.unparse(one)):
        made = re.fullmatch(rf"{found[1]} = (\w+)\(\)", ast.unparse(before))
        return found[1] in parsers or bool(made and made[1] in functions)
    return False


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""
