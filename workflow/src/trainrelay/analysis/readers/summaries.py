"""Summaries that trainers print of an epoch, counted from 1:

Epoch 5 Summary:                    Epoch 1:  Train Loss: 66.23  Val Loss: 37.53
  Train Loss: 2.3878
    - Coords Loss: 0.2107
  Val PCK@0.1: 0.3311
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainrelay.analysis.readers.clean import metric_name, number

LINE_LIMIT = 2_000  # characters; a longer line is no summary for people
BLOCK_LINE_LIMIT = 200  # lines under one head: a line per term is far less

_HEAD = re.compile(r"\bEpoch:? \[?(\d{1,9})(?:/\d{1,9})?\]?( Summary)?\s{0,9}[:,|-]?\s")
_PAIR = re.compile(
    r"([A-Za-z][^:=\n\t|,;()]{0,60}?)\s?[:=]\s{0,40}([-+]?(?:\d[\d.]{0,40}(?:[eE][-+]?\d{1,4})?|(?i:nan|inf(?:inity)?)))%?(?![\w:.])"
)
_RULE = " \t\r\n=-*_#~─━═"  # of which a line is drawn below a head, or around all of it
_ASIDE = re.compile(r"\([^()]{0,200}\)")
_ITEM = re.compile(r"\s+(?:[-*•]\s*)?(?=[A-Za-z])|[-*•]\s+(?=[A-Za-z])")
_PHASES: dict[str, Literal["train", "val"]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "test", "eval", "evaluation"), "val"),
}


@dataclass(frozen=True, slots=True)
class SummaryNumber:
    """One number of a summary. `number` is the epoch as printed."""

    number: int
    phase: Literal["train", "val"]
    name: str
    value: float


def opens(line: str) -> bool:
    """Whether a line begins a summary, or is one."""
    if "Epoch" not in line:
        return False
    head = _HEAD.search(line[:LINE_LIMIT])
    return head is not None and (head[2] is not None or _names_a_phase(line[head.end() : LINE_LIMIT]))


class SummaryReader:
    """Follows the lines of a file; between two lines of a summary no other line may be."""

    def __init__(self) -> None:
        self._number = 0
        self._left = 0
        self._phase: Literal["train", "val"] = "train"

    def line(self, line: str) -> list[SummaryNumber]:
        """The numbers of this line, if it belongs to a summary."""
        if opens(line):
            return self._opened(line[:LINE_LIMIT])
        if self._left and line.strip(_RULE):
            self._left -= 1
            item = _ITEM.match(line)
            found = list(self._said(line[item.end() : LINE_LIMIT])) if item else []
            self._left = self._left if found else 0
            return found
        return []

    def ended(self) -> None:
        """Another kind of line came."""
        self._left = 0

    def _opened(self, line: str) -> list[SummaryNumber]:
        head = _HEAD.search(line)
        assert head is not None
        self._number, self._phase = int(head[1]), "train"
        self._left = BLOCK_LINE_LIMIT if head[2] else 0
        return list(self._said(line[head.end() :]))

    def _said(self, text: str) -> Iterator[SummaryNumber]:
        for pair in _PAIR.finditer(_ASIDE.sub("", text)):
            phase, name = _named(pair[1])
            self._phase = phase or self._phase
            value = number(pair[2])
            if name and value is not None:
                yield SummaryNumber(self._number, self._phase, metric_name(name), value)


def _named(text: str) -> tuple[Literal["train", "val"] | None, str]:
    """`Val PCK@0.1` -> ("val", "pck@0.1")."""
    words = [word for word in re.split(r"[ _]+", text.lower()) if word]
    phases = [_PHASES[word] for word in words if word in _PHASES]
    return (phases[0] if phases else None), "_".join(word for word in words if word not in _PHASES)


def _names_a_phase(text: str) -> bool:
    first = _PAIR.match(text.lstrip())
    return first is not None and all(_named(first[1]))
