"""mmengine JSON (`vis_data/*.json`): an object per logged line, whose `iter` counts over the whole run.

Validations have a `step` alone: the epoch, or the iteration where the trainer counts no epochs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from trainrelay.analysis.readers.clean import as_float, json_object, metric_name
from trainrelay.analysis.readers.events import Event, Format, LineSkipped, RowSeen

_PLACE = {"epoch", "iter", "step"}
_MOST = 10**9  # epochs or iterations of no training


class MmengineJson(Format):
    """The format of the JSON files in mmengine's `vis_data`."""

    name = "mmengine-json"
    title = "mmengine JSON"

    def claims(self, line: str) -> bool:
        """A row of training has `step` and the same as `iter`."""
        found = json_object(line) if line.startswith("{") and '"step"' in line else None
        iteration = _count(found or {}, "iter")
        return found is not None and iteration is not None and iteration == found.get("step")

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """An event for each object; a line that is none is skipped."""
        found = [(line, json_object(line)) for line in lines if line.strip()]
        training = [one for _, one in found if one and _count(one, "iter")]
        by_epoch = all(_count(one, "epoch") for one in training)
        length = _epoch_length([(one["epoch"], one["iter"]) for one in training]) if by_epoch else None
        for line, one in found:
            yield LineSkipped() if one is None else _row(one, hash(line.rstrip()), by_epoch, length)


def _count(found: Mapping[str, Any], key: str) -> int | None:
    value = found.get(key)
    return value if type(value) is int and 0 < value < _MOST else None


def _epoch_length(training: list[tuple[int, int]]) -> int | None:
    """Iterations of an epoch, from epochs and iterations: of each epoch every n-th is logged, or the last."""
    gaps = Counter(later - at for (epoch, at), (same, later) in pairwise(training) if epoch == same)
    for epoch, first in dict(reversed(training)).items():
        if not gaps:
            return first // epoch
        if epoch > 1:
            return (first - gaps.most_common(1)[0][0]) // (epoch - 1)
    return None


def _row(found: Mapping[str, Any], key: int, by_epoch: bool, length: int | None) -> Event:
    numbers = {metric_name(name): as_float(value) for name, value in found.items() if name not in _PLACE}
    values = {name: value for name, value in numbers.items() if value is not None}
    iteration, step = _count(found, "iter"), _count(found, "step")
    if iteration is None and step is not None:
        values = {name: value for name, value in values.items() if name not in ("time", "data_time")}
        epoch, at = (step, length or 1) if by_epoch else (1, step)
        return RowSeen(epoch, at, "val", values, key, by_iteration=not by_epoch)
    if iteration is None:
        return LineSkipped()
    if not by_epoch:
        return RowSeen(1, iteration, "train", values, key, by_iteration=True)
    epoch = found["epoch"]
    return RowSeen(
        epoch, iteration - (epoch - 1) * (length or 0), "train", values, key, iters_per_epoch=length
    )
