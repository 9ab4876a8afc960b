"""The configuration as a file: read strictly, and kept as a snapshot for the jobs of one workflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from trainrelay.config.models import Config
from trainrelay.config.parse import parse
from trainrelay.errors import ConfigError
from trainrelay.system.files import content, write_bytes

SNAPSHOTS = Path(".snakemake/trainrelay")


class _Strict:
    """Refuses a duplicate key in one mapping: YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, list[str]] = {}
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key.value, str):
                lines.setdefault(key.value, []).append(str(key.start_mark.line + 1))
        if twice := [key for key, found in lines.items() if len(found) > 1]:
            what = f"duplicate key {min(twice)!r} (lines {' and '.join(lines[min(twice)])})"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return super().construct_mapping(node, deep)  # type: ignore[misc, no-any-return]


# libyaml is the faster one; Python's own names what it found if a file is not YAML.
_LOADERS = (getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.SafeLoader)
_FAST, _TELLING = (type("Loader", (_Strict, loader), {}) for loader in _LOADERS)


def load_config(path: Path) -> Config:
    """The config of a file; ConfigError names the file, and the line of a YAML mistake."""
    return parse(load_plain(path), str(path))


def load_plain(path: Path) -> Any:
    """The plain data of a YAML or JSON file."""
    try:
        return _plain(path)
    except FileNotFoundError:
        what = "not found; pass --configfile FILE, or run this in the folder with config.yaml"
        link = "is a symbolic link to nothing; remove it, or make it lead to the file"
        raise ConfigError(str(path), [link if path.is_symlink() else what]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(str(path), [_yaml_problem(error)]) from None


def _plain(path: Path) -> Any:
    # YAML 1.1 reads 1e-06, as JSON writes it, as text.
    if path.suffix == ".json":
        return json.loads(content(path))
    data = content(path)
    try:
        return yaml.load(data, Loader=_FAST)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError:
        return yaml.load(data, Loader=_TELLING)  # noqa: S506 (a SafeLoader)


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or str(error)
    what = "a tab; YAML indents with spaces" if "'\\t' that cannot start any token" in what else what
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}" if mark else f"not YAML: {what}"


def save_snapshot(config: Config) -> Path:
    """The effective config as a file, named by content, so that every job sees what Snakemake saw."""
    data = json.dumps(config.model_dump(mode="json", by_alias=True), indent=2).encode()
    path = SNAPSHOTS / f"config-{hashlib.sha256(data).hexdigest()[:16]}.json"
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
    return path
