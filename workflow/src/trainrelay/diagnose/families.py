"""Components averaged over frames and decoder layers: one series per family."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainrelay.diagnose.case import Case
from trainrelay.diagnose.knowledge import Meaning
from trainrelay.records import Row


@dataclass(frozen=True, slots=True)
class Family:
    """`values` are the means over the finite members at each row that has any of them."""

    meaning: Meaning
    members: tuple[str, ...]
    values: list[float]

    @property
    def metric(self) -> str:
        """The one member's name, or the family's pattern."""
        return self.members[0] if len(self.members) == 1 else self.meaning.family


def families(case: Case) -> list[Family]:
    """The families of the training metrics, in the order of first appearance."""
    members: dict[tuple[str, str], list[str]] = {}
    for name, meaning in case.meanings.items():
        members.setdefault((meaning.group, meaning.family), []).append(name)
    return [Family(case.meanings[names[0]], tuple(names), _means(case, names)) for names in members.values()]


def _means(case: Case, names: list[str]) -> list[float]:
    return [mean for row in case.train if (mean := _mean(row, names)) is not None]


def _mean(row: Row, names: list[str]) -> float | None:
    present = [row.values[name] for name in names if name in row.values]
    present = [value for value in present if math.isfinite(value)]
    return sum(present) / len(present) if present else None
