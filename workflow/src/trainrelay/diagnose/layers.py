"""Names of DETR's family: `loss_ce_3_unscaled` is loss_ce of decoder layer 3, before its coefficient.

Earlier layers are numbered from 0, the last layer has no number.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

UNSCALED = "_unscaled"
_NAME = re.compile(r"(?P<base>.+?)(?:_(?P<layer>\d{1,3}))?(?P<unscaled>_unscaled)?", re.DOTALL)


class Parts(NamedTuple):
    """A metric's name in its parts; `layer` is None for the last one."""

    base: str
    layer: int | None
    unscaled: bool


def split(name: str) -> Parts:
    """`loss_ce_3_unscaled` -> loss_ce, 3, True."""
    match = _NAME.fullmatch(name)
    if match is None:
        return Parts(name, None, False)
    layer = match["layer"]
    return Parts(match["base"], None if layer is None else int(layer), match["unscaled"] is not None)


def is_twin(name: str, names: Collection[str]) -> bool:
    """Whether a name is the unscaled twin of another one in the log."""
    return name.endswith(UNSCALED) and name.removesuffix(UNSCALED) in names


def layered(names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """The scaled losses that are logged per layer, by base: layer 0 first, the last layer at the end."""
    found: dict[str, dict[int, str]] = {}
    there = dict.fromkeys(names)
    for name in there:
        base, layer, unscaled = split(name)
        if layer is not None and not unscaled and base in there and "loss" in base:
            found.setdefault(base, {})[layer] = name
    return {base: (*(layers[at] for at in sorted(layers)), base) for base, layers in found.items()}


def family(name: str, names: Collection[str]) -> str | None:
    """`loss_ce_*` for an earlier layer of a metric whose last layer is in the log; else None."""
    base, layer, unscaled = split(name)
    tail = UNSCALED if unscaled else ""
    return f"{base}_*{tail}" if layer is not None and f"{base}{tail}" in names else None
