"""The grammar of a metric's name: what it tells without a knowledge file.

`track.frame_0_loss_cls_5` is loss_cls of group track, of frame 0 and decoder layer 5; `map.d0.loss_cls` is
loss_cls of group map, of an earlier layer. DETR's family numbers the earlier layers from 0 and leaves the
last one bare: `loss_ce_3_unscaled` is loss_ce of layer 3, before its coefficient.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

UNSCALED = "_unscaled"
# The total, and numbers of the trainer loop: no components of the loss.
BOOKKEEPING = frozenset(
    {"loss", "grad_norm", "time", "data_time", "data", "memory", "max mem", "eta", "epoch", "iter", "step"}
    | {"eta_seconds", "rank_data_time"}
)
SUM = "sum of losses"  # a total that no log has: what is logged adds up to it
_TOTALS = ("loss", "total_loss", "train_loss", "training_loss", "loss_total")
_LOSS = re.compile(r"loss(?!_?scal)", re.IGNORECASE)  # the scale of a loss scaler is none
_ADVERSARIAL = re.compile(
    r"(.*[\W_])?(gen|disc|generator|discriminator|adv|adversarial|gan|critic|actor|policy|value[\W_]?loss|fm|loss_feat"
    r"|(?:[gdv]|pi)[\W_]?loss|loss[\W_]?(?:[gdv]|pi|q\d?))([\W_].*)?|(.*/)?[gd][\W_].*",
    re.IGNORECASE,
)
_REWARD = re.compile(r"(?i)(?:[^.]*(?:[\W_]|(?-i:[a-z](?=R))))?(?:rew(?:ards?)?|ret(?:urns?)?)(?:[_/]mean)?")
OVERALL_SCORES = ("NDS", "mAP", "mIoU")
_NAME = re.compile(
    r"(?P<base>(?:(?P<group>[^.]*)\.(?:(?<!\d\.)|(?!\d)))?"  # pck@0.1 is a number, and has no group
    r"(?:frame_(?P<frame>\d+)_)?(?:d\d+\.)?(?P<term>.*?))(?:_(?P<layer>\d{1,3}))?(?P<unscaled>_unscaled)?",
    re.DOTALL,
)


class Parts(NamedTuple):
    """A metric's name in its parts; `layer` is None where it has no number."""

    base: str  # all before the layer
    layer: int | None
    unscaled: bool
    group: str
    frame: str | None
    family: str  # as a metric name, without frame and layer


def split(name: str) -> Parts:
    """`track.frame_0_loss_cls_5` -> track.frame_0_loss_cls, 5, False, track, 0, track.loss_cls."""
    found = _NAME.fullmatch(name)
    assert found, "the grammar knows every name"
    base, group, frame, term, layer, unscaled = found.groups()
    family = f"{term}{unscaled or ''}"
    number = None if layer is None else int(layer)
    return Parts(
        base, number, bool(unscaled), group or "", frame, family if group is None else f"{group}.{family}"
    )


def is_learning_rate(name: str) -> bool:
    """`lr`, or `lr_backbone`, `lr/pg0`, `x/lr0` and the like where the parameter groups differ."""
    return re.fullmatch(r"(?:x/)?lr(?:\d|[_/].*)?", name) is not None


def is_reward(name: str) -> bool:
    """Whether a metric is what reinforcement learning is after: its losses need not fall."""
    return not is_loss(name) and _REWARD.fullmatch(name) is not None


def is_loss(name: str) -> bool:
    """Whether a metric calls itself a loss."""
    return _LOSS.search(name) is not None


def is_adversarial(name: str) -> bool:
    """Whether a loss is one of two that work against each other (GANs), or of a policy: none need fall."""
    return _ADVERSARIAL.fullmatch(name) is not None


def total_of(names: Iterable[str]) -> str | None:
    """The metric that is the total loss: by its usual names, however they are written, or the only loss."""
    losses = [name for name in without_twins(names) if is_loss(name)]
    spelled = {re.sub(r"[\W_]+", "_", name).lower(): name for name in reversed(losses)}
    alone = losses[0] if len(losses) == 1 and not is_adversarial(losses[0]) else None
    return next((spelled[usual] for usual in _TOTALS if usual in spelled), alone)


def is_component(name: str, total: str | None = None) -> bool:
    """Whether a metric is a part of what is trained or measured, not the total and not about the machine."""
    return name != total and name not in BOOKKEEPING and not is_learning_rate(name)


def without_twins(metrics: Iterable[str]) -> list[str]:
    """The metrics without those that repeat another one before its coefficient."""
    names = dict.fromkeys(metrics)
    return [name for name in names if not name.endswith(UNSCALED) or name.removesuffix(UNSCALED) not in names]


def layered(names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """The scaled losses that are logged per layer, by base: layer 0 first, the last layer at the end."""
    found: dict[str, dict[int, str]] = {}
    there = dict.fromkeys(names)
    for name in there:
        parts = split(name)
        if parts.layer is not None and not parts.unscaled and parts.base in there and is_loss(parts.base):
            found.setdefault(parts.base, {})[parts.layer] = name
    return {base: (*(layers[at] for at in sorted(layers)), base) for base, layers in found.items()}


def earlier_layers(name: str, names: Collection[str]) -> str | None:
    """`loss_ce_*` for an earlier layer of a metric whose last layer is in the log; else None."""
    parts = split(name)
    tail = UNSCALED if parts.unscaled else ""
    return f"{parts.base}_*{tail}" if parts.layer is not None and f"{parts.base}{tail}" in names else None


def validation_scores(train: Iterable[str], val: Iterable[str]) -> list[str]:
    """What a validation measures besides losses: what only it measures, if there is anything of that kind."""
    found = [name for name in without_twins(val) if is_component(name) and not is_loss(name)]
    known = set(train)
    return [name for name in found if name not in known] or found


def overall_score(names: list[str]) -> str | None:
    """The one metric to show first: a known overall score, else the first."""
    return next((name for name in names if name.endswith(OVERALL_SCORES)), names[0] if names else None)
