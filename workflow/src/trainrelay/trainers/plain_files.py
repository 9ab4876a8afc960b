"""Files by what they say, without comments and formatting: settings of YAML, JSON and TOML, code of Python (pure)."""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from trainrelay.system.files import content
from trainrelay.system.yaml_bounds import refuse_too_much
from trainrelay.trainers.mmcv_values import flat
from trainrelay.trainers.python_values import bounded, cut

DATA = (".yaml", ".yml", ".json", ".toml")


def said_by(path: Path, label: str) -> Iterator[tuple[str, str]]:
    """What a file says as "label: key" and text; OSError or ValueError where it cannot be read."""
    raw = content(path)
    if path.suffix in DATA:
        try:
            data = bounded(_data(raw, path.suffix), "it")
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValueError(f"{path.name}: {' '.join(str(error).split())}") from None
        data = data if isinstance(data, dict) else {"": data}
        yield from ((f"{label}: {key}", cut(repr(value))) for key, value in flat(_named(data)))
    elif path.suffix == ".py":
        yield label, _digest(ast.unparse(_without_docstrings(ast.parse(raw, filename=path.name))).encode())
    else:
        yield label, _digest(raw)


def _data(raw: bytes, suffix: str) -> Any:
    if suffix == ".json":
        return json.loads(raw)
    if suffix == ".toml":
        return tomllib.loads(raw.decode())
    refuse_too_much(raw)
    return yaml.safe_load(raw)


def _named(data: Any) -> Any:
    """The same, its keys as text: YAML has numbers as keys."""
    return {str(k): _named(v) for k, v in data.items()} if isinstance(data, dict) else data


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def _digest(said: bytes) -> str:
    return f"sha256 {hashlib.sha256(said).hexdigest()[:12]}"
