"""Files by what they say, without comments and formatting: values of YAML, JSON and TOML, code of Python."""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from trainrelay.system.files import content
from trainrelay.system.yaml_bounds import loaded
from trainrelay.trainers.mmcv_values import flat
from trainrelay.trainers.python_values import bounded, cut

DATA: dict[str, Callable[[bytes], Any]] = {
    **dict.fromkeys((".yaml", ".yml"), loaded),
    ".json": json.loads,
    ".toml": lambda raw: tomllib.loads(raw.decode()),
}


def said_by(path: Path, label: str) -> Iterator[tuple[str, str]]:
    """What a file says as "label: key" and text; OSError or ValueError where it cannot be read."""
    raw = content(path)
    try:
        if path.suffix in DATA:
            data = _named(bounded(DATA[path.suffix](raw), "it"))
            found = flat(data if isinstance(data, dict) else {"": data})
            yield from ((f"{label}: {key}", cut(repr(value))) for key, value in found)
            return
        raw = ast.unparse(ast.parse(raw)).encode() if path.suffix == ".py" else raw
    except (yaml.YAMLError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path.name}: {' '.join(str(error).split())}") from None
    yield label, f"sha256 {hashlib.sha256(raw).hexdigest()[:12]}"


def _named(data: Any) -> Any:
    """The same, its keys as text: YAML has numbers as keys."""
    return {str(key): _named(value) for key, value in data.items()} if isinstance(data, dict) else data
