"""The values that a chain of mmcv configs ends with, merged as mmcv's Config does, nothing executed.

What only running a file would tell stays text: an expression with the values that it is made from, and code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

from trainrelay.trainers.base import Option, canonical_text
from trainrelay.trainers.python_values import SourceText, inside


def merged(over: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A child's entries over the base's, key by key."""
    return {**base, **{key: _onto(value, base[key]) if key in base else value for key, value in over.items()}}


def _onto(value: Any, before: Any) -> Any:
    """A child's value on the base's; where only running them tells, both are kept."""
    kept = before if isinstance(before, dict) and "_own_" not in before else {"_base_": before}
    how = value.get("_code_", value.get("_delete_", False)) if isinstance(value, dict) else value
    if isinstance(how, SourceText) and value != before:
        if isinstance(before, SourceText):
            return SourceText(f"{value} over {before}")
        if isinstance(before, dict) or " before code#" in how:  # merged, or put in its place, or not there
            return {**kept, "_own_": value}
    if not isinstance(value, dict):
        return value
    if isinstance(before, list) and _is_by_index(value, before):
        return [_onto(value[str(i)], entry) if str(i) in value else entry for i, entry in enumerate(before)]
    over = {key: entry for key, entry in value.items() if key != "_delete_"}
    if how or not isinstance(before, dict | SourceText):
        return over
    return merged(over, kept)


def _is_by_index(value: Mapping[str, Any], before: list[Any]) -> bool:
    """Whether entries of a list are named by their number, as `pipeline.1.scale` does."""
    return bool(value) and all(key.isdecimal() and int(key) < len(before) for key in map(str, value))


def with_options(values: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    """The values after a stage's options; one that means what is there already leaves it as it is."""
    for key, option in options.items():
        found = inside(values, key)
        if isinstance(found, dict | SourceText) or canonical_text(found) != canonical_text(option):
            steps = reversed(key.split("."))
            values = merged(reduce(lambda inner, step: {step: inner}, steps, _typed(option)), values)
    return dict(values)


def _typed(option: Option) -> Any:
    """An option as mmcv takes it from its command line."""
    try:
        return ast.literal_eval(canonical_text(option))
    except (ValueError, SyntaxError):
        return option


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a key with a dot is in brackets."""
    for name, entry in values.items():
        key = f"{above}{f'[{name!r}]' if '.' in name else name}"
        if isinstance(entry, dict) and entry:
            yield from flat(entry, f"{key}.")
        else:
            yield key, entry
