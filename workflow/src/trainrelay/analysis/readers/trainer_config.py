"""What a trainer prints of itself -> flat literals, never executed: its config (Python source of mmcv's
`pretty_text`), argparse's `Namespace(lr=0.0001, resume='', ...)`, and `collect_env` of mmcv or mmengine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from trainrelay.analysis.readers.clean import as_float, clean

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w* = ")
_LARGE = 2**53  # as JSON has it: such an integer is no count
_TRIM_LIMIT = 40  # lines of other processes that may trail a statement in a console log


def parse(lines: list[str]) -> dict[str, Any]:
    """`optimizer = dict(lr=0.1)` -> {"optimizer.lr": 0.1}; what is no literal is left out."""
    flat: dict[str, Any] = {}
    for statement in _statements(lines):
        for name, value in _mapping(_parsed(statement)).items():
            flat.update(_flat(name, value))
    return flat


def _statements(lines: list[str]) -> Iterator[list[str]]:
    current: list[str] = []
    for line in lines:
        if _ASSIGNMENT.match(line):
            if current:
                yield current
            current = [line]
        elif current:
            current.append(line)
    if current:
        yield current


def _parsed(lines: list[str]) -> list[tuple[ast.expr, ast.expr]]:
    """The name and the value of an assignment; nothing of all else."""
    for end in range(len(lines), max(0, len(lines) - _TRIM_LIMIT), -1):
        try:
            body = ast.parse("\n".join(lines[:end])).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        if len(body) == 1 and isinstance(body[0], ast.Assign) and isinstance(body[0].targets[0], ast.Name):
            return [(ast.Constant(body[0].targets[0].id), body[0].value)]
    return []


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}", item)
    else:
        yield prefix, value


def _literal(node: ast.expr) -> Any:
    """Raises ValueError for what is no literal; of a mapping only such values are left out."""
    match node:
        case ast.List(elts=items):
            return [_literal(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_literal(item) for item in items)
        case ast.Dict(keys=keys, values=values):
            return _mapping(zip(keys, values, strict=True))
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return _mapping((ast.Constant(k.arg) if k.arg else None, k.value) for k in keywords)
    value = ast.literal_eval(node)
    large = isinstance(value, int) and abs(value) >= _LARGE
    return as_float(value) if large else value


def _mapping(items: Iterable[tuple[ast.expr | None, ast.expr]]) -> dict[str, Any]:
    """A key of None is `**other`."""
    found: dict[str, Any] = {}
    for key, node in items:
        with suppress(ValueError, TypeError, RecursionError):
            value = _literal(node)
            if key is not None:
                found[str(_literal(key))] = value
            elif isinstance(value, dict):
                found.update(value)
    return found


_GPU = re.compile(r"GPU ([\d,]+): (.+)")
_TORCH = re.compile(r"PyTorch: (\S+)")
_RUNTIME = re.compile(r"CUDA Runtime ([\d.]+)")


def machine(lines: list[str]) -> dict[str, str]:
    """`gpus` (a count), `gpu` (their names), `torch` and `cuda`, as far as the lines say them."""
    found: dict[str, str] = {}
    gpus, names = 0, []
    for line in map(str.strip, lines):
        if match := _GPU.match(line):
            gpus += len([index for index in match[1].split(",") if index])
            names.append(clean(match[2]))
        elif match := _TORCH.match(line):
            found["torch"] = clean(match[1])
        elif match := _RUNTIME.search(line):
            found["cuda"] = match[1]
    if gpus:
        found |= {"gpus": str(gpus), "gpu": ", ".join(dict.fromkeys(names))}
    return found


OPENING = "Namespace("
CHARACTER_LIMIT = 200_000  # of a line; a real Namespace has some thousand
NAMESPACE_LINE_LIMIT = 2_000  # of one that is never closed

_PIECE = re.compile(r"""'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|[()\[\]{},]|[^'"()\[\]{},]+""", re.DOTALL)


class NamespaceReader:
    """Cuts a Namespace, on one line or many, into `name=value`; one that is cut keeps what it has.

    Where two processes print theirs into each other, what can be read of both is kept.
    """

    def __init__(self) -> None:
        self._items: list[list[str]] = [[]]
        self._depth = 0
        self._lines = 0

    def feed(self, line: str) -> bool:
        """Reads one more line; whether the Namespace continues after it."""
        _, opening, rest = line.partition(OPENING)
        if opening:
            self._items.append([])
            self._depth = 0
        self._lines += 1
        for piece in _PIECE.findall((rest if opening else line)[:CHARACTER_LIMIT]):
            if piece == ")" and not self._depth:
                return False
            if piece == "," and not self._depth:
                self._items.append([])
            else:
                self._depth = max(0, self._depth + (piece in "([{") - (piece in ")]}"))
                self._items[-1].append(piece)
        return self._lines < NAMESPACE_LINE_LIMIT

    def literals(self) -> dict[str, Any]:
        """What was read so far; values that are no literals are left out."""
        pairs = ("".join(item).replace("\n", " ").partition("=") for item in self._items)
        said = [f"{name.strip()} = {value.strip()}" for name, equals, value in pairs if equals]
        return parse(said)
