"""mmcv trainer configs, read as syntax trees and never executed.

A config is Python; running it to learn what it says would run whatever it holds. Its syntax tree has no
comments and no formatting, so two files that differ only in those have equal facts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainrelay.command.base import TrainerConfig
from trainrelay.command.mmcv_values import cut, entries, values_of


def read_config(root: Path, config: str) -> TrainerConfig:
    """The facts of `config` (relative to `root`) and its `_base_` chain, later files winning."""
    settings: dict[str, str] = {}
    literals: dict[str, Any] = {}
    try:
        own = (root / config).resolve()
        # The stage's own file is "config": renaming it, or moving the checkout, changes nothing.
        files = [("config" if path == own else path.name, tree) for path, tree in _chain(own, ())]
        values = values_of(files)
        for name, tree in files:
            settings.update({f"{name}: {key}": text for key, text in _settings(tree)})
            literals.update(_literals(tree))
    except OSError as error:
        return TrainerConfig(problem=f"{error.filename or config}: {error.strerror or error}")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        return TrainerConfig(problem=f"{config}: {error}")
    return TrainerConfig(settings, literals, values=values)


def _chain(path: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, ast.Module]]:
    """Every file of the chain with its tree, bases before those who build on them."""
    path = path.resolve()
    if path in above:
        raise ValueError(f"_base_ of {path.name} leads back to itself")
    tree = ast.parse(path.read_bytes(), filename=path.name)
    for base in _bases(tree):
        yield from _chain(path.parent / base, (*above, path))
    yield path, tree


def _bases(tree: ast.Module) -> list[str]:
    value = _literals(tree).get("_base_", None if _assigned(tree, "_base_") else [])
    bases = [value] if isinstance(value, str) else value
    if not isinstance(bases, list | tuple) or not all(isinstance(base, str) for base in bases):
        raise ValueError("_base_ is not a plain list of file names")
    return list(bases)


def _assigned(tree: ast.Module, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


def _settings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Dotted key and source text of each statement; a docstring says nothing to the training."""
    seen: dict[str, int] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        for key, text in _statement(statement):
            seen[key] = seen.get(key, 0) + 1
            yield key if seen[key] == 1 else f"{key}#{seen[key]}", cut(text)


def _statement(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    if isinstance(statement, ast.Assign) and all(isinstance(t, ast.Name) for t in statement.targets):
        for target in statement.targets:
            yield from _flat(ast.unparse(target), statement.value)
    else:
        yield "code", ast.unparse(statement)


def _flat(key: str, value: ast.expr) -> Iterator[tuple[str, str]]:
    found = entries(value)
    if not found:
        yield key, ast.unparse(value)
    for name, entry in found.items():
        yield from _flat(f"{key}.{name}", entry)


def _literals(tree: ast.Module) -> dict[str, Any]:
    """Dotted key and value of what is literal, names of earlier literals resolved."""
    known: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
            known = {k: v for k, v in known.items() if k.split(".")[0] != target.id}
            known.update(_literal_entries(target.id, statement.value, known))
    return known


def _literal_entries(key: str, value: ast.expr, known: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in entries(value).items():
        found.update(_literal_entries(f"{key}.{name}", entry, known))
    if found:
        return found
    if isinstance(value, ast.Name):
        return {key: known[value.id]} if value.id in known else {}
    try:
        return {key: ast.literal_eval(value)}
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return {}
