"""The arguments that a training script declares with argparse, read as a syntax tree and never executed.

Scripts of DETR's family have no config file: what a training is stands in the defaults of their arguments.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainrelay.command.base import Switch, TrainerConfig

_SETS = {"store_true": True, "store_false": False}


@dataclass(frozen=True, slots=True)
class _Argument:
    """One `add_argument`. `default` is None where none is written, else its expression."""

    name: str  # as the trainer's own code calls it
    switch: Switch
    default: ast.expr | None


def read_arguments(root: Path, script: str) -> TrainerConfig:
    """The facts of a script (relative to `root`): each argument's default, and how it is spelled."""
    try:
        tree = ast.parse((root / script).read_bytes(), filename=script)
        found = {argument.name: argument for argument in _arguments(tree)}
    except OSError as error:
        return TrainerConfig(problem=f"{error.filename or script}: {error.strerror or error}")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return TrainerConfig(problem=f"{script}: {error}")
    if not found:
        return TrainerConfig(problem=f"{script}: declares no argument with add_argument")
    return TrainerConfig(
        settings={f"config: {name}": _text(argument) for name, argument in found.items()},
        literals={name: _literal(argument) for name, argument in found.items() if _is_known(argument)},
        switches={name: argument.switch for name, argument in found.items()},
    )


def _arguments(tree: ast.Module) -> Iterator[_Argument]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            argument = _argument(node) if node.func.attr == "add_argument" else None
            yield from [argument] if argument else []


def _argument(call: ast.Call) -> _Argument | None:
    """None for positional arguments and for names that are not written out."""
    flags = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    flag = next((flag for flag in flags if flag.startswith("--")), next(iter(flags), ""))
    if not flag.startswith("-"):
        return None
    words = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    dest, action = _constant(words.get("dest")), _constant(words.get("action"))
    name = dest if isinstance(dest, str) else flag.lstrip("-").replace("-", "_")
    many = _constant(words.get("nargs")) in ("+", "*") or isinstance(_constant(words.get("nargs")), int)
    switch = Switch(flag, _SETS.get(str(action)), many, _type(words), _choices(words))
    return _Argument(name, switch, words.get("default"))


def _type(words: Mapping[str, ast.expr]) -> Literal["int", "float"] | None:
    match words.get("type"):
        case ast.Name(id="int"):
            return "int"
        case ast.Name(id="float"):
            return "float"
    return None


def _choices(words: Mapping[str, ast.expr]) -> tuple[str, ...]:
    node = words.get("choices")
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    found = tuple(str(item.value) for item in items if isinstance(item, ast.Constant))
    return found if len(found) == len(items) else ()


def typed_text(value: Any, kind: str | None) -> str:
    """The text of a value as a parser with `type` makes it: 5 and 5.0 are one float, but two texts."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(typed_text(item, kind) for item in value) + "]"
    if kind is not None and is_of_type(value, kind):
        return str(float(value) if kind == "float" else int(str(value)))
    return str(value)


def is_of_type(value: Any, kind: str) -> bool:
    """Whether a parser with `type=int` or `type=float` takes a value."""
    try:
        int(str(value)) if kind == "int" else float(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _constant(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _text(argument: _Argument) -> str:
    if _is_known(argument):
        return typed_text(_literal(argument), argument.switch.type)
    return ast.unparse(argument.default) if argument.default else ""


def _unsaid(argument: _Argument) -> bool | None:
    """What argparse takes where no default is written."""
    return None if argument.switch.sets is None else not argument.switch.sets


def _is_known(argument: _Argument) -> bool:
    try:
        _literal(argument)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _literal(argument: _Argument) -> Any:
    return _unsaid(argument) if argument.default is None else ast.literal_eval(argument.default)
