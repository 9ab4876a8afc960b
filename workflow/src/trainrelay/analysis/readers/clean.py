"""What every reader does with text from outside: makes it safe to print, cuts records, reads numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import orjson

from trainrelay.errors import LogError
from trainrelay.text import hidden

_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_INNERMOST = re.compile(r"\{[^{}]*\}")
_METRIC = re.compile(r"mAP|mIoU|mDice|[aA]cc|AP\b|AR\b|AUC|PCK|EPE|NDS|precision|recall|top\d")
# Far longer than real names and messages: an endless one of a broken log costs no memory and no page.
NAME_LIMIT = 200
TEXT_LIMIT = 500
RECORDS_LIMIT = 1_000  # records in one line, where processes write over each other
WHOLE_LIMIT = 1 << 26  # characters of a JSON value; parsed it takes about ten times as many bytes


def strip_escapes(line: str) -> str:
    """The line without terminal escape sequences."""
    return _ESCAPE.sub("", line) if "\x1b" in line else line


def clean(text: str, limit: int = TEXT_LIMIT) -> str:
    """Printable characters only, trimmed, at most `limit` of them."""
    text = strip_escapes(hidden(text)[: 4 * limit])
    return "".join(char for char in text if char.isprintable()).strip()[:limit]


@lru_cache(maxsize=4096)
def metric_name(raw: str) -> str:
    """A metric's name; the same object for each row, so that a table of rows stays small."""
    return clean(raw, NAME_LIMIT)


@lru_cache(maxsize=64)
def metric_names(raw: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a row, of which most rows have the same."""
    return tuple(map(metric_name, raw))


def records(line: str, beginning: re.Pattern[str] | None) -> Iterator[tuple[str, bool]]:
    """The line, or its parts where another record begins in it; and whether the part was cut off."""
    cut = not line.endswith(("\n", "\r"))
    starts = [match.start() for match in beginning.finditer(line)] if beginning else []
    for start, end in pairwise([0, *starts[:RECORDS_LIMIT], len(line)]):
        if not beginning or line[start:end].strip():
            yield line[start:end], cut or end < len(line)


def number(text: str) -> float | None:
    """The number that a text is."""
    try:
        return float(text)
    except ValueError:
        return None


def as_float(value: object) -> float | None:
    """A number of a JSON object; None of all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


@lru_cache(maxsize=64)
def evaluates(names: tuple[str, ...]) -> bool:
    """Whether a row of mmcv that calls itself one of training is of an evaluation, by its metrics."""
    return any(map(_METRIC.search, names)) and not any("loss" in name or name == "time" for name in names)


# It knows NaN, and integers of many digits, which are as good as floats.
_LOADS = partial(json.loads, parse_int=lambda text: int(text) if len(text) < LONG_DIGITS else float(text))
LONG_DIGITS = 20


def json_object(line: str) -> dict[str, Any] | None:
    """The JSON object that a line is."""
    for loads in (orjson.loads, _LOADS):
        with suppress(ValueError, RecursionError):
            found = loads(line)
            return found if isinstance(found, dict) else None
    return None


def whole(lines: Iterable[str]) -> str:
    """The text of a JSON value over many lines; LogError where it would fill the memory."""
    text, chars = list[str](), 0
    for line in lines:
        text.append(line)
        if (chars := chars + len(line)) > WHOLE_LIMIT:
            raise LogError(
                f"a JSON list of more than {WHOLE_LIMIT >> 20} million characters cannot be read at once;"
                " write an object per line, as by jq -c '.[]' FILE (of trainer_state.json: '.log_history[]')"
            )
    return "".join(text)


def json_objects(text: str) -> list[dict[str, Any]]:
    """The objects of a JSON list; of one that was cut, those before, if they hold no others."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = [json_object(row) for row in _INNERMOST.findall(text)]
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
