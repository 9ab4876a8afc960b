"""MetricLogger JSON (`log.txt`): one object per epoch with `train_*`, `test_*` and `epoch`, counted from 0.

Runs are appended to the file, and each rank may write its own copy of an object: where every epoch comes the
same number of times in a row, the first of each is kept; where only some do, it was trained again. A file
whose first epoch is 1, with no 0 anywhere, counts from 1. Where no object names its
epoch (older DETR, LAVIS), each one with numbers of training is the next epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from trainrelay.analysis.readers.clean import as_float, json_object, metric_name, number
from trainrelay.analysis.readers.events import Event, Format, LineSkipped, RowSeen, SetupSeen
from trainrelay.records import ITERATIONS, Phase

VALUE_LIMIT = 5_000  # numbers of one object
LIST_LIMIT = 100  # of one list; COCO's evaluation has 12
_PREFIXES: Mapping[str, Phase] = {"train_": "epoch", "test_": "val", "val_": "val", "valid_": "val"}
_ELSEWHERE = tuple(f'"{name}"' for name in ("mode", *ITERATIONS))  # others say these


@dataclass(slots=True)
class _Epoch:
    """One object. `values` by phase."""

    number: int
    values: dict[Phase, dict[str, float]] = field(default_factory=lambda: {"epoch": {}, "val": {}})

    def takes(self, other: _Epoch) -> bool:
        """Takes another object, if that is the other half of the same epoch."""
        halves = [(values, other.values[phase]) for phase, values in self.values.items()]
        if self.number != other.number or any(own and theirs for own, theirs in halves):
            return False
        for own, theirs in halves:
            own.update(theirs)
        return True


class MetricLoggerJson(Format):
    """The format of the `log.txt` of DETR's family."""

    name = "metriclogger-json"
    title = "MetricLogger JSON"

    def claims(self, line: str) -> bool:
        """An object with a key that begins with `train_`; or, if it has `epoch`, with `test_` or `val_`."""
        if not line.startswith("{") or any(word in line for word in _ELSEWHERE):
            return False
        found = _object(line) or {}
        prefixes = tuple(_PREFIXES) if "epoch" in found else ("train_",)
        return any(key.startswith(prefixes) for key in found)

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """An "epoch" row for each epoch, without values where it was only evaluated, and its evaluation."""
        epochs: list[_Epoch] = []
        objects = [(line, _object(line)) for line in lines]
        named = any("epoch" in found for _, found in objects if found)
        for line, found in objects:
            if found is not None and (not named or "epoch" in found):
                yield from _setup(found)
                epoch = _epoch(found, epochs[-1].number if epochs else -1)
                if not epochs or not epochs[-1].takes(epoch):
                    epoch.number += "epoch" not in found
                    epochs.append(epoch)
            elif line.strip(" \t\r\n{}") and not line.startswith(" "):  # a config that is printed over lines
                yield LineSkipped()
        runs = [list(run) for _, run in groupby(epochs, key=lambda epoch: epoch.number)]
        copies = _copies(runs)
        if copies > 1:
            yield SetupSeen(setup={"ranks printing": str(copies)})
        first = 1 if epochs and epochs[0].number == 1 and all(epoch.number for epoch in epochs) else 0
        for epoch in (epoch for run in runs for epoch in run[::copies]):
            yield from _rows(epoch, epoch.number + 1 - first)


def _object(line: str) -> dict[str, Any] | None:
    """The object of an epoch: it says which, or holds what was trained or evaluated."""
    found = json_object(line)
    if not found or ("epoch" in found and _number(found) is None):
        return None
    return found if "epoch" in found or any(key.startswith(tuple(_PREFIXES)) for key in found) else None


def _number(found: Mapping[str, Any]) -> int | None:
    number = as_float(found.get("epoch"))
    return int(number) if number is not None and 0 <= number < 10**9 and number.is_integer() else None


def _setup(found: Mapping[str, Any]) -> Iterator[Event]:
    count = as_float(found.get("n_parameters"))
    if count is not None and 0 <= count < 10**18:
        yield SetupSeen(setup={"parameters": str(found["n_parameters"])})


def _epoch(found: Mapping[str, Any], last: int) -> _Epoch:
    named = _number(found)
    epoch = _Epoch(last if named is None else named)
    for key, value in list(found.items())[:VALUE_LIMIT]:
        if key not in ("epoch", "n_parameters"):
            phase, name = _named(key)
            epoch.values[phase].update(_numbers(name, value))
    return epoch


def _named(key: str) -> tuple[Phase, str]:
    """`test_loss` -> ("val", "loss"); `ema_test_loss` is of the evaluation too, but another metric."""
    for prefix, phase in _PREFIXES.items():
        if key.startswith(prefix):
            return phase, metric_name(key.removeprefix(prefix))
    return ("val" if "test_" in key or "val_" in key else "epoch"), metric_name(key)


def _numbers(name: str, value: Any) -> dict[str, float]:
    """A number as it is, or as LAVIS quotes it, a list of numbers as `name[0]`, ...; nothing of all else."""
    value = number(value) if isinstance(value, str) else value
    if isinstance(value, list):
        items = [(f"{name}[{index}]", item) for index, item in enumerate(value[:LIST_LIMIT])]
    else:
        items = [(name, value)]
    return {key: found for key, item in items if name and (found := as_float(item)) is not None}


def _copies(runs: list[list[_Epoch]]) -> int:
    """How many times each epoch was written: what divides the length of every run of equal epochs. The
    last run may be cut short, where two before it are not."""
    lengths = [len(run) for run in runs]
    ends = lengths[:-1] if len(lengths) > 2 else lengths
    copies = math.gcd(*ends)
    if len(runs) == 1 and any(epoch.values != runs[0][0].values for epoch in runs[0]):
        return 1  # one epoch with other numbers each time: it was trained again
    return copies if lengths and (lengths[-1] % copies == 0 or lengths[-1] < copies) else 1


def _rows(epoch: _Epoch, number: int) -> Iterator[Event]:
    yield RowSeen(number, 0, "epoch", epoch.values["epoch"], None)
    if epoch.values["val"]:
        yield RowSeen(number, 0, "val", epoch.values["val"], None)
