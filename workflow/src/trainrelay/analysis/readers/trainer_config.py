"""A printed trainer config (Python source of mmcv's `pretty_text`) -> flat literals, never executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w* = ")
_DEPTH_LIMIT = 40  # of brackets, more than any config nests
_TRIM_LIMIT = 40  # lines of other processes that may trail a statement in a console log


class _NotLiteral(Exception):
    """A node that is no literal; only its own key is left out."""


def parse(lines: list[str]) -> dict[str, Any]:
    """`optimizer = dict(lr=0.1)` -> {"optimizer.lr": 0.1}; what is no literal is left out."""
    flat: dict[str, Any] = {}
    for statement in _statements(lines):
        for name, value in _mapping(_parsed(statement), 0).items():
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


def _literal(node: ast.expr, depth: int) -> Any:
    if depth > _DEPTH_LIMIT:
        raise _NotLiteral
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items):
            return [_literal(item, depth + 1) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_literal(item, depth + 1) for item in items)
        case ast.Dict(keys=keys, values=values):
            return _mapping(zip(keys, values, strict=True), depth)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            names = ((ast.Constant(k.arg) if k.arg else None, k.value) for k in keywords)
            return _mapping(names, depth)
    raise _NotLiteral


def _mapping(items: Any, depth: int) -> dict[str, Any]:
    """One value that is no literal costs its own key only; a key of None is `**other`."""
    found: dict[str, Any] = {}
    for key, node in items:
        try:
            value = _literal(node, depth + 1)
            if key is not None:
                found[str(_literal(key, depth + 1))] = value
            elif isinstance(value, dict):
                found.update(value)
        except _NotLiteral:
            continue
    return found
