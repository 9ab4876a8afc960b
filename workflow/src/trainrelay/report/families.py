"""Which metrics belong together: a hundred logged keys as a few groups of a few families.

The group is the prefix before the first dot (`track`, `map`); the family is the rest of the name
without the frame, decoder layer and index that only number its members:
`track.frame_0_loss_cls_5` is a member of family `loss_cls` in group `track`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

KNOWN_GROUPS = ("track", "map", "motion", "occ", "planning")
HOUSEKEEPING = frozenset({"time", "data_time", "data", "memory", "max mem", "eta", "epoch", "iter", "step"})
GRAD_NORM = "grad_norm"

_FRAME = re.compile(r"^frame_(\d+)_")
_AUXILIARY = re.compile(r"^d(\d+)\.")
_INDEX = re.compile(r"_(\d+)$")


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics that measure the same thing at several frames, layers or steps."""

    group: str  # "" where the names have no prefix
    name: str
    members: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name of the family as a metric name."""
        return f"{self.group}.{self.name}" if self.group else self.name


def is_learning_rate(metric: str) -> bool:
    """`lr`, or `lr_backbone` and the like where the parameter groups differ."""
    return metric == "lr" or metric.startswith("lr_")


def is_component(metric: str, total: str | None) -> bool:
    """Whether a metric is a part of what is trained, not the total and not about the machine."""
    return metric not in {total, "loss", GRAD_NORM} | HOUSEKEEPING and not is_learning_rate(metric)


def place(metric: str) -> tuple[str, str]:
    """The group and the family name of a metric."""
    group, dot, rest = metric.partition(".")
    if not dot:
        group, rest = "", metric
    return group, _INDEX.sub("", _AUXILIARY.sub("", _FRAME.sub("", rest)))


def grouped(metrics: Iterable[str]) -> dict[str, tuple[Family, ...]]:
    """Families by group: the groups of the driving stack in their order, then others as they appear."""
    found: dict[str, dict[str, list[str]]] = {group: {} for group in KNOWN_GROUPS}
    for metric in metrics:
        group, name = place(metric)
        found.setdefault(group, {}).setdefault(name, []).append(metric)
    return {
        group: tuple(Family(group, name, tuple(members)) for name, members in names.items())
        for group, names in found.items()
        if names
    }


def spread(families: Iterable[Family]) -> tuple[int, int]:
    """How many frames and how many decoder layers the members of these families span."""
    frames, layers = set(), set()
    for metric in (member for family in families for member in family.members):
        rest = metric.partition(".")[2] or metric
        frame, auxiliary, index = _FRAME.search(rest), _AUXILIARY.search(rest), _INDEX.search(rest)
        frames |= {frame[1]} if frame else set()
        layers |= {auxiliary[1]} if auxiliary else {index[1]} if frame and index else set()
    return len(frames), len(layers)
