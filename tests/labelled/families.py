"""What healthy trainings of six model families look like, from families.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Course = tuple[float, float]  # first value, last value
TEXT, JSON, CONSOLE = "mmcv-text", "mmcv-json", "metriclogger-text"
EPOCHS, DESCRIBED = "metriclogger-json", "script"
MMENGINE, MMENGINE_JSON = "mmengine-text", "mmengine-json"
STATE, TABLE = "huggingface-json", "rows"
NARRATED = (TEXT, CONSOLE, MMENGINE)  # what is printed of a start, and of how it ended, is in the log

_RANGE = re.compile(r"\{(\d)\.\.(\d)\}")


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of training. Sequences are choices; `every`: epochs between two evaluations."""

    name: str
    formats: tuple[str, ...]
    terms: Mapping[str, Course]  # the total is their sum
    others: Mapping[str, Course] = field(default_factory=dict)  # logged beside the losses
    unscaled: Mapping[str, float] = field(default_factory=dict)  # terms also logged without this coefficient
    peaked: tuple[str, ...] = ()  # terms that rise before they fall, as boxes do when more of them are found
    uncertain: tuple[str, ...] = ()  # metrics without a gradient, which wobble
    epochs: tuple[int, ...]
    length: tuple[int, ...]  # iterations of an epoch
    intervals: tuple[int, ...]  # iterations between two lines
    schedule: str  # cosine, steps or poly
    lr: float
    warmup: int = 0  # iterations
    warmup_ratio: float = 1 / 3
    clip: float | None = None
    norm: float | None = None  # gradient norm as it settles
    step_s: float
    memory_mb: int
    metrics: Mapping[str, Course]
    every: tuple[int, ...] = (1,)
    val_loss: bool = False
    nan_to_num: bool = False  # its code replaces NaN by 0
    fp16: float = 0.0  # the share of trainings with a loss scaler
    by_iteration: bool = False


def base(name: str) -> str:
    """The loss that all frames and layers share."""
    return re.sub(r"\bd\d\.|_\d\b|_\d(?=_)", "", name)


def _expanded(terms: Mapping[str, Any]) -> dict[str, Course]:
    """One entry for each frame and layer; later layers are a little better."""
    found: dict[str, Course] = {}
    for name, (first, last) in terms.items():
        match = _RANGE.search(name)
        if match is None:
            found[name] = (first, last)
            continue
        for n in range(int(match[1]), int(match[2]) + 1):
            better = 1.1 - 0.02 * n if _RANGE.search(name, match.end()) is None else 1.0
            found |= _expanded({name.replace(match[0], str(n), 1): (first * better, last * better)})
    return found


def _family(given: Mapping[str, Any]) -> Family:
    terms = {key: _expanded(given.get(key, {})) for key in ("terms", "others")}
    return Family(**{**given, **terms})


FAMILIES = tuple(map(_family, yaml.safe_load((Path(__file__).parent / "families.yaml").read_text())))
