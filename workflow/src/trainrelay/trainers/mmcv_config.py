"""mmcv trainer configs, read as syntax trees and never executed.

A config is Python; running it to learn what it says would run whatever it holds. Its syntax tree has no
comments and no formatting, so two files that differ only in those say the same.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from trainrelay.system.files import content, read_once
from trainrelay.system.yaml_bounds import loaded
from trainrelay.trainers.base import TrainerConfig
from trainrelay.trainers.mmcv_values import flat, merged
from trainrelay.trainers.python_values import Names, SourceText, bounded, holds, inside, targets

_OF_BASE = r"\{\{\s*(_base_\.[\w.]+)\s*\}\}"


def read_config(root: Path, config: str, values_of: Callable[[Path, Path], dict[str, Any]]) -> TrainerConfig:
    """What `config` says (relative to `root`) with its bases, as `values_of` reads them."""
    try:
        own = Path(os.path.realpath(root / config))  # unlike resolve, it takes links that lead to themselves
        return _effective(values_of(own, root))
    except OSError as error:
        return TrainerConfig(problem=f"{error.filename or config}: {error.strerror or error}")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        return TrainerConfig(problem=f"{config}: {error}")


def chain_values(own: Path, root: Path) -> dict[str, Any]:
    """What the files merge to, later ones winning."""
    values: dict[str, Any] = {}
    for path, tree in _chain(own):
        said = Names(label(path, own), tree.body, (path.parent, root), values).held
        values = merged({k: v for k, v in said.items() if k != "_base_" and k[:2] != "__"}, values)
    return values


def _effective(values: dict[str, Any]) -> TrainerConfig:
    known = {key: inside(values, key) for key, _ in flat(values)}
    return TrainerConfig(
        literals={key: value for key, value in known.items() if not holds(value, SourceText)}, values=values
    )


def label(path: Path, own: Path) -> str:
    """The stage's own file is "config": renaming it, or moving the checkout, changes nothing."""
    return "config" if path == own else path.name


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


def _chain(path: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[Path, ast.Module]]:
    """Every file of the chain with its tree, bases before those who build on them."""
    path = Path(os.path.realpath(path))
    if path in above:
        raise ValueError(f"_base_ of {path.name} leads back to itself")
    tree = read_once(config_tree, path)
    for base in _bases(tree):
        yield from _chain(path.parent / base, (*above, path))
    yield path, tree


def _bases(tree: ast.Module) -> list[str]:
    """The file names in `_base_`, which is a literal, or the name of an earlier one."""
    said: dict[str, ast.expr] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            value = statement.value
            held = said.get(value.id, value) if isinstance(value, ast.Name) else value
            said |= dict.fromkeys(targets(statement), held)
    is_named = any(isinstance(node, ast.Name) and node.id == "_base_" for node in ast.walk(tree))
    bases: Any = None if is_named else []
    with suppress(KeyError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        bases = ast.literal_eval(said["_base_"])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list | tuple) or not all(isinstance(base, str) for base in bases):
        raise ValueError("_base_ is not a plain list of file names")
    return list(bases)
