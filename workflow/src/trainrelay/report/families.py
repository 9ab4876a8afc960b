"""Which metrics belong together: a hundred logged keys as a few groups of a few families.

The group is the prefix before the first dot (`track`, `map`); the family is the rest of the name
without the frame, decoder layer and index that only number its members:
`track.frame_0_loss_cls_5` is a member of family `loss_cls` in group `track`.

DETR and its kin number the earlier decoder layers (`loss_ce_0`) and leave the last one bare (`loss_ce`); they
print each term again without its coefficient (`loss_ce_unscaled`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

KNOWN_GROUPS = ("track", "map", "motion", "occ", "planning")
HOUSEKEEPING = frozenset({"time", "data_time", "data", "memory", "max mem", "eta", "epoch", "iter", "step"})
GRAD_NORM = "grad_norm"
OVERALL_SCORES = ("NDS", "mAP", "mIoU")

_FRAME = re.compile(r"^frame_(\d+)_")
_AUXILIARY = re.compile(r"^d(\d+)\.")
_INDEX = re.compile(r"_(\d+)(?=$|_unscaled$)")
_UNSCALED = "_unscaled"


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


def is_loss(metric: str) -> bool:
    """Whether a metric calls itself a loss."""
    return "loss" in metric.lower()


def place(metric: str) -> tuple[str, str]:
    """The group and the family name of a metric."""
    group, dot, rest = metric.partition(".")
    is_decimal = group[-1:].isdigit() and rest[:1].isdigit()  # pck@0.1
    if not dot or is_decimal:
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


def without_twins(metrics: Iterable[str]) -> list[str]:
    """The metrics without those that repeat another one before its coefficient."""
    names = list(metrics)
    there = set(names)
    return [
        name for name in names if not (name.endswith(_UNSCALED) and name.removesuffix(_UNSCALED) in there)
    ]


def by_layer(metrics: Iterable[str]) -> tuple[Family, ...]:
    """Losses that are named bare for the last decoder layer and numbered for the earlier ones.

    Two families per loss: the last layer alone, then the earlier layers.
    """
    names = list(metrics)
    earlier: dict[str, list[str]] = {}
    for name in names:
        stem = _INDEX.sub("", name)
        if stem != name and "loss" in stem and "." not in stem:
            earlier.setdefault(stem, []).append(name)
    return tuple(
        family
        for stem in names
        if stem in earlier
        for family in (Family("", stem, (stem,)), _earlier(stem, earlier[stem]))
    )


def _earlier(stem: str, members: list[str]) -> Family:
    numbers = [found[1] for found in map(_INDEX.search, members) if found]
    last = f" to _{numbers[-1]}" if len(members) > 1 else ""
    return Family("", f"{stem}_{numbers[0]}{last}", tuple(members))


def measured(train: Iterable[str], val: Iterable[str]) -> list[str]:
    """What a validation measures besides losses: what only it measures, if there is anything of that kind."""
    found = [name for name in without_twins(val) if is_component(name, None) and not is_loss(name)]
    known = set(train)
    return [name for name in found if name not in known] or found


def overall_score(metrics: Iterable[str]) -> str | None:
    """The one metric that a glance should tell: a known overall score, else the first."""
    names = list(metrics)
    return next((name for name in names if name.endswith(OVERALL_SCORES)), names[0] if names else None)


def spread(families: Iterable[Family]) -> tuple[int, int]:
    """How many frames and how many decoder layers the members of these families span."""
    frames, layers = set(), set()
    for metric in (member for family in families for member in family.members):
        rest = metric.partition(".")[2] or metric
        frame, auxiliary, index = _FRAME.search(rest), _AUXILIARY.search(rest), _INDEX.search(rest)
        frames |= {frame[1]} if frame else set()
        layers |= {auxiliary[1]} if auxiliary else {index[1]} if frame and index else set()
    return len(frames), len(layers)
