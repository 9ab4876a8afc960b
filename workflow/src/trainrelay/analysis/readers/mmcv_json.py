"""mmcv JSON (`*.log.json` of TextLoggerHook): a meta object per start, then one object per logged line.

Floats are rounded to 5 decimals, NaN is written bare, and the length of an epoch is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainrelay.analysis.readers import trainer_config
from trainrelay.analysis.readers.clean import as_float, evaluates, json_object, metric_names
from trainrelay.analysis.readers.events import Event, Format, LineSkipped, ProcessStarted, RowSeen, SetupSeen
from trainrelay.records import Numbers, Phase

_PHASES: Mapping[str, Phase] = {"train": "train", "val": "val"}
_PLACE = ("mode", "epoch", "iter")
_MOST = 10**9  # epochs or iterations of no training
_META = ('"env_info"', '"exp_name"', '"hook_msgs"')


class MmcvJson(Format):
    """The format of mmcv's `*.log.json` files."""

    name = "mmcv-json"
    title = "mmcv JSON"

    def claims(self, line: str) -> bool:
        """A row has `mode`, `epoch` and `iter`; a meta line one of the keys that mmcv's tools write."""
        if not line.startswith("{"):
            return False
        if '"mode"' in line or any(key in line for key in _META):
            found = json_object(line)
            return found is not None and (_place(found) is not None or "mode" not in found)
        return False

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """One event or two for each object; a line that is none is skipped."""
        for line in lines:
            if not line.strip():
                continue
            found = json_object(line)
            if found is None:
                yield LineSkipped()
            elif "mode" in found:
                yield _row(found, line)
            else:
                yield ProcessStarted()
                yield _facts(found)


def _place(found: Mapping[str, Any]) -> tuple[Phase, int, int] | None:
    phase = _PHASES.get(str(found.get("mode")))
    epoch, iteration = found.get("epoch"), found.get("iter")
    counts = all(isinstance(each, int) and abs(each) < _MOST for each in (epoch, iteration))
    return (phase, epoch, iteration) if phase and counts else None  # type: ignore[return-value]


def _row(found: dict[str, Any], line: str) -> Event:
    place = _place(found)
    if place is None:
        return LineSkipped()
    for key in _PLACE:
        del found[key]
    values = _values(found)
    phase = "val" if evaluates(tuple(values)) else place[0]
    return RowSeen(place[1], place[2], phase, values, hash(line.rstrip()))


def _values(found: dict[str, Any]) -> Numbers:
    if not set(map(type, found.values())) <= {float, int}:
        found = {name: v for key, value in found.items() for name, v in _numbers(key, value).items()}
    return Numbers(metric_names(tuple(found)), found.values())


def _numbers(key: str, value: Any) -> dict[str, float]:
    """A number as it is; several learning rates as `lr_NAME`, the first one as `lr` too."""
    if key == "lr" and isinstance(value, dict):
        rates = {f"lr_{name}": rate for name, v in value.items() if (rate := as_float(v)) is not None}
        return {"lr": next(iter(rates.values())), **rates} if rates else {}
    number = as_float(value)
    return {} if number is None else {key: number}


def _facts(meta: Mapping[str, Any]) -> SetupSeen:
    config = trainer_config.parse(str(meta.get("config", "")).splitlines())
    return SetupSeen(setup=trainer_config.machine(str(meta.get("env_info", "")).splitlines()), config=config)
