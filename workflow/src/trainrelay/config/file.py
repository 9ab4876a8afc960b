"""The configuration as a file: read strictly, and kept as a snapshot for the jobs of one workflow."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from trainrelay.config.models import Config, Model
from trainrelay.config.parse import parse
from trainrelay.config.problems import describe
from trainrelay.errors import ConfigError
from trainrelay.system.files import content, make_folder, write_private
from trainrelay.system.hints import typed
from trainrelay.system.yaml_bounds import FASTEST, refuse_too_much
from trainrelay.text import HIDDEN

_M = TypeVar("_M", bound=BaseModel)
_MISSING = "not found; pass --configfile FILE, or run this in the folder with config.yaml"
SNAPSHOTS = Path(".snakemake/trainrelay")
_BOOLEAN, *_NUMBERS = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float"))
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")  # as Python's repr quotes
_OF_YAML = re.compile(r".(?:<[a-z ]+>|.?).")  # its own words and signs
_FLOW = re.compile(r"<block end>, but found '(?:{|<scalar>)'")
_TOLD_BYTES = 32 * 1024  # Python's own loader needs a second for so much


def load_config(path: Path) -> Config:
    """The config of a file; ConfigError names the file, and the line of a YAML mistake."""
    return parse(load_plain(path), str(typed(path)))


def load_as(model: type[_M], path: Path, example: str) -> _M:
    """What a YAML or JSON file holds, as a model; of an empty file its defaults. ConfigError, as below."""
    data = load_plain(path, f"not found in {path.absolute().parent}; see {example}")
    if not isinstance(data, Mapping | None):
        raise ConfigError(str(path), [f"is not a mapping (key: value lines); see {example}"])
    try:
        return model.model_validate(data or {})
    except ValidationError as error:
        raise ConfigError(str(path), describe(error, data, model)) from None


def load_plain(path: Path, missing: str = _MISSING) -> Any:
    """The plain data of a YAML or JSON file."""
    try:
        return _plain(path)
    except FileNotFoundError:
        link = "is a symbolic link to nothing; remove it, or make it lead to the file"
        raise ConfigError(str(path), [link if path.is_symlink() else missing]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None
    # The last three: of a tag that does not fit its text, as in !!bool "x".
    except (yaml.YAMLError, ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(str(path), [_yaml_problem(error)]) from None


def _plain(path: Path) -> Any:
    # YAML 1.1 reads 1e-06, as JSON writes it, as text.
    if path.suffix == ".json":
        return json.loads(content(path))
    data = content(path)
    try:
        refuse_too_much(data)
        loader = FASTEST(data)
        node = loader.get_single_node()
    except (yaml.scanner.ScannerError, yaml.parser.ParserError, yaml.composer.ComposerError):
        if len(data) > _TOLD_BYTES:
            raise
        # Slower, but it names what it found.
        loader = yaml.SafeLoader(data)
        node = loader.get_single_node()
    if misread := [what for _, what in sorted(_misread([node]))]:
        raise ConfigError(str(path), misread)
    return None if node is None else loader.construct_document(node)


def _misread(waiting: list[yaml.Node | None]) -> Iterator[tuple[int, str]]:
    """The line and a sentence for each key that a mapping has twice, of which YAML would silently keep the
    last, and for what YAML 1.1 reads as something else than it says."""
    seen: set[yaml.Node] = set()
    while waiting:
        if (node := waiting.pop()) is None or node in seen:
            continue
        seen.add(node)
        if node.tag in _NUMBERS and ":" in node.value:
            yield _at(node.start_mark, "a number with colons counts in base 60; write a plain one, or quotes")
        keys: dict[str, list[yaml.Mark]] = {}
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            waiting.append(value)
            if key.tag == _BOOLEAN:
                yield _at(key.start_mark, f"the name {key.value} is read as a boolean; write it in quotes")
            if key.tag != "tag:yaml.org,2002:merge":
                keys.setdefault(str(key.value), []).append(key.start_mark)
        waiting += node.value if isinstance(node, yaml.SequenceNode) else ()
        for name, marks in keys.items():
            lines = " and ".join(str(mark.line + 1) for mark in marks)
            if len(marks) > 1:
                yield _at(marks[-1], f"duplicate key {name!r} (lines {lines})")


def _at(mark: yaml.Mark, what: str) -> tuple[int, str]:
    return mark.line, f"line {mark.line + 1}, column {mark.column + 1}: {what}"


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or str(error)
    what = "a tab; YAML indents with spaces" if "'\\t' that cannot start any token" in what else what
    what = "a second document begins here; a config is one" if "another document" in what else what
    what += "; put a value that begins with { or a quote wholly in quotes" * bool(_FLOW.search(what))
    # The value of a secret without quotes may be read as an alias or a tag.
    what = _QUOTED.sub(lambda one: one[0] if _OF_YAML.fullmatch(one[0]) else f"'{HIDDEN}'", what)
    return _at(mark, what)[1] if mark else f"not YAML: {' '.join(what.split())}"


def save_snapshot(of: Model, name: str = "config") -> Path:
    """What is in effect as a file, named by content, so that every job sees what Snakemake saw."""
    data = json.dumps(of.model_dump(mode="json", by_alias=True), indent=2).encode()
    path = SNAPSHOTS / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}.json"
    make_folder(path.parent)
    write_private(path, data)
    return path
