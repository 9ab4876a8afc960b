"""mmcv trainer configs, read as syntax trees and never executed.

A config is Python; running it to learn what it says would run whatever it holds. Its syntax tree has no
comments and no formatting, so two files that differ only in those say the same.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from trainrelay.records import RULES
from trainrelay.system.files import content, read_once
from trainrelay.system.yaml_bounds import loaded
from trainrelay.trainers.base import TrainerConfig
from trainrelay.trainers.mmcv_values import flat, merged
from trainrelay.trainers.python_values import Names, SourceText, bounded, cut, entries, holds, inside

_OF_BASE = r"\{\{\s*(_base_\.[\w.]+)\s*\}\}"


def read_config(
    root: Path,
    config: str,
    rules: int = RULES,
    values_of: Callable[[Path, Path], dict[str, Any]] | None = None,
) -> TrainerConfig:
    """What `config` says (relative to `root`) with its `_base_` chain, or as `values_of` reads its bases."""
    try:
        own = Path(os.path.realpath(root / config))  # unlike resolve, it takes links that lead to themselves
        return _by_rules_1(own) if rules == 1 else _effective((values_of or chain_values)(own, root))
    except OSError as error:
        return TrainerConfig(problem=f"{error.filename or config}: {error.strerror or error}")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        return TrainerConfig(problem=f"{config}: {error}")


def chain_values(own: Path, root: Path) -> dict[str, Any]:
    """What the files merge to, later ones winning."""
    values: dict[str, Any] = {}
    for path, tree in _chain(own, (), config_tree):
        said = Names(label(path, own), tree.body, (path.parent, root), values).held
        values = merged({k: v for k, v in said.items() if k != "_base_" and k[:2] != "__"}, values)
    return values


def _effective(values: dict[str, Any]) -> TrainerConfig:
    known = {key: inside(values, key) for key, _ in flat(values)}
    return TrainerConfig(
        literals={key: value for key, value in known.items() if not holds(value, SourceText)}, values=values
    )


def _by_rules_1(own: Path) -> TrainerConfig:
    """Each statement of the files, and their literals."""
    settings: dict[str, str] = {}
    literals: dict[str, Any] = {}
    for path, tree in _chain(own, (), _code):
        settings.update({f"{label(path, own)}: {key}": text for key, text in _settings(tree)})
        literals.update(_literals(tree))
    return TrainerConfig(settings, literals)


def label(path: Path, own: Path) -> str:
    """The stage's own file is "config": renaming it, or moving the checkout, changes nothing."""
    return "config" if path == own else path.name


def _code(path: Path) -> ast.Module:
    return ast.parse(content(path), filename=path.name)


def config_tree(path: Path) -> ast.Module:
    """A file of the chain as Python code, its own name filled in where it asks for it, as mmcv does."""
    names = {"fileBasename": path.name, "fileBasenameNoExtension": path.stem, "fileExtname": path.suffix}
    pattern = rf"\{{\{{\s*({'|'.join(names)})\s*\}}\}}"
    text = re.sub(pattern, lambda found: names[found[1]], content(path).decode("utf-8-sig"))
    if path.suffix not in (".json", ".yaml", ".yml"):
        return ast.parse(text, filename=path.name)
    quoted = re.sub(_OF_BASE, r'"{{\1}}"', text)
    try:
        data = json.loads(quoted) if path.suffix == ".json" else loaded(quoted)
        if not isinstance(data, dict):
            raise ValueError("is not a mapping")
        said = {str(key): repr(value) for key, value in bounded(data, "it").items()}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: {' '.join(str(error).split())}") from None
    code = {
        key: ast.parse(re.sub(rf"(['\"]){_OF_BASE}\1", r"{{\2}}", value), mode="eval")
        for key, value in said.items()
    }
    return ast.Module([ast.Assign([ast.Name(k, ast.Store())], v.body, lineno=1) for k, v in code.items()], [])


def _chain(
    path: Path, above: tuple[Path, ...], parsed: Callable[[Path], ast.Module]
) -> Iterator[tuple[Path, ast.Module]]:
    """Every file of the chain with its tree, bases before those who build on them."""
    path = Path(os.path.realpath(path))
    if path in above:
        raise ValueError(f"_base_ of {path.name} leads back to itself")
    tree = read_once(parsed, path)
    for base in _bases(tree):
        yield from _chain(path.parent / base, (*above, path), parsed)
    yield path, tree


def _bases(tree: ast.Module) -> list[str]:
    is_named = any(isinstance(node, ast.Name) and node.id == "_base_" for node in ast.walk(tree))
    value = _literals(tree).get("_base_", None if is_named else [])
    bases = [value] if isinstance(value, str) else value
    if not isinstance(bases, list | tuple) or not all(isinstance(base, str) for base in bases):
        raise ValueError("_base_ is not a plain list of file names")
    return list(bases)


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
    found = entries(value) or {}
    if not found:
        yield key, ast.unparse(value)
    for name, entry in found.items():
        yield from _flat(f"{key}.{name}", entry)


def _literals(tree: ast.Module) -> dict[str, Any]:
    """Dotted key and value of what is literal, names of earlier literals resolved."""
    known, keys = dict[str, Any](), dict[str, list[str]]()
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
            for key in keys.pop(target.id, ()):
                del known[key]
            found = _literal_entries(target.id, statement.value, known)
            keys[target.id] = list(found)
            known.update(found)
    return known


def _literal_entries(key: str, value: ast.expr, known: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in (entries(value) or {}).items():
        found.update(_literal_entries(f"{key}.{name}", entry, known))
    if found:
        return found
    if isinstance(value, ast.Name):
        return {key: known[value.id]} if value.id in known else {}
    try:
        return {key: ast.literal_eval(value)}
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return {}
