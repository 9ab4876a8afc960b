"""Progress bars of a training, as tqdm prints them (pure).

    Epoch 0:  33%|###3      | 1/3 [00:01<00:02,  1.20s/it, loss=28.5, lr=0.0001]

Bars of an evaluation or a download, and those that name no epoch, are none of a training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_BAR = re.compile(
    r"(?:\[[a-z]+\d+\]:\s?)?(?:train(?:ing)?:? )?epoch:? ?\[?(\d{1,9})(?:/(\d{1,9}))?\]?:?"
    r"(?: [\[(]?train(?:ing)?[\])]?)?:? +(\d{1,3})%(?:\|[^|]{0,500}\|)? (\d{1,9})/(\d{1,9}) \[\d[\d:]*<",
    re.IGNORECASE,
)
_SAID = r"[^\[\]]{0,2000}+(?:\[[^\[\]]{0,200}+\][^\[\]]{0,2000}+){0,20}+\]"  # with lists of numbers
_END = re.compile(
    r"(?:%(?:\|[^|]{0,500}\|)?|\| +\|) +[\d.]{1,12}\w{0,2}/(?:[\d.]{1,12}\w{0,2}|\?) \[\d[\d:]{0,12}<"
    + _SAID
    + r"(?=\s*\S)"
)
_INSIDE = re.compile(_SAID)
_NUMBER = re.compile(r", ?([A-Za-z_][^\s=:,]*)(?:=|: ?)(?:tensor\()?\[{0,2}([^\s,\[\]()]+)(?=[,\])])")

_MOST_NUMBERS = 200  # in one line, which may be made to fill the memory


@dataclass(frozen=True, slots=True)
class Bar:
    """A state of a bar. `epoch` and `epochs` as printed."""

    epoch: int
    epochs: int | None
    done: int
    total: int
    numbers: Mapping[str, str]


def parts(line: str) -> Iterator[str]:
    """The states of any bars, and what was printed behind them: a bar ends no line."""
    begin, drawn = 0, "%" in line or "/? [" in line
    while drawn and (end := _END.search(line, begin)):
        yield f"{line[begin : end.end()]}\r"
        begin = end.end()
    yield line[begin:]


def is_bar(line: str) -> bool:
    """Whether a line shows a bar, of whatever."""
    return "%|" in line or training_bar(line) is not None


def training_bar(line: str) -> Bar | None:
    """The state with which a line begins; None if there is none, or it was torn."""
    if (match := _BAR.match(line)) is None:
        return None
    percent, done, total = map(int, match.group(3, 4, 5))
    if not total or done > total or abs(100 * done / total - percent) > 1:
        return None
    inside = _INSIDE.match(line, match.end())
    said = inside[0] if inside else line[match.end() :]
    epochs = int(match[2]) if match[2] else None
    return Bar(int(match[1]), epochs, done, total, dict(_NUMBER.findall(said)[:_MOST_NUMBERS]))
