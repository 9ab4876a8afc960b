"""mmengine text (LoggerHook), from mmengine's own log file, or from a console log, which names no year.

The lines of numbers:

    2023/06/05 20:10:13 - mmengine - INFO - Epoch(train)   [1][ 50/3517]  lr: 4.000000e-08  eta: 4:59:11  ...
    06/05 20:10:13 - mmengine - INFO - Epoch(val) [1][753/753]    coco/bbox_mAP: 0.2318  data_time: 0.1  ...
    06/05 20:10:13 - mmengine - INFO - Iter(train) [   50/40000]  base_lr: 1.0e-02 lr: 1.0e-02  eta: ...
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainrelay.analysis.readers import trainer_config
from trainrelay.analysis.readers.clean import clean, metric_name, number
from trainrelay.analysis.readers.console import Phrase
from trainrelay.analysis.readers.events import Event, Format, LineSkipped, ProcessStarted, RowSeen, SetupSeen
from trainrelay.analysis.readers.mmcv_markers import COMMON, MmcvMarkers
from trainrelay.analysis.readers.mmcv_text import events_of
from trainrelay.records import Marker

_STAMP = re.compile(r"(?:\d{4}/)?(\d\d/\d\d \d\d:\d\d:\d\d - )")
_HEAD = re.compile(r"\b(Epoch|Iter)\((train|val)\) +(?:\[ *(\d{1,9})\])?\[ *(\d{1,12})/(\d{1,12})\]  ")
_VALUE = re.compile(r"(\S+): +(\S+)")
_WHOLE_VALUE = re.compile(r"(\.\d{4,}|nan|inf)\s*$")
_INTRODUCTIONS = ("Hooks will be executed in the following order:", "Checkpoints will be saved to ")
# What the checks ask for, by mmcv's names.
_AS_IN_MMCV = {
    "default_hooks.logger.interval": "log_config.interval",
    "optim_wrapper.clip_grad.max_norm": "optimizer_config.grad_clip.max_norm",
    "env_cfg.dist_cfg.backend": "dist_params.backend",
    "train_cfg.max_epochs": "runner.max_epochs",
    "train_cfg.max_iters": "runner.max_iters",
}


class MmengineText(Format):
    """The format of mmengine's `*.log` files and of what its trainers print."""

    name = "mmengine-text"
    title = "mmengine text"

    def claims(self, line: str) -> bool:
        """A line of numbers, or a line with which a trainer of mmengine introduces itself."""
        introduced = any(words in line for words in _INTRODUCTIONS) and " - mmengine - " in line
        return introduced or _HEAD.search(line) is not None

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """As mmcv's, with other heads and phrases."""
        yield from events_of(lines, _STAMP, _HEAD.search, _row, _Markers())


class _Markers(MmcvMarkers):
    phrases = (
        *COMMON,
        Phrase("System environment:", "System environment:", lambda _: [ProcessStarted()]),
        Phrase(
            "Checkpoints will be saved to ",
            r"Checkpoints will be saved to (.*)\.$",
            lambda match: [
                Marker("started", clean(match[0])),
                SetupSeen(setup={"work_dir": clean(match[1])}),
            ],
        ),
    )
    environment = "System environment:"

    def config(self, block: list[str]) -> Iterator[Event]:
        """Under mmcv's names as well, where the checks ask for them."""
        config = trainer_config.parse(block)
        fp16 = {"fp16": True} if config.get("optim_wrapper.type") == "AmpOptimWrapper" else {}
        known = {name: config[key] for key, name in _AS_IN_MMCV.items() if key in config}
        yield SetupSeen(config={**config, **known, **fp16})


def _row(line: str, head: re.Match[str], cut: bool) -> Event | None:
    """None: a line of an evaluation under way, which has times alone."""
    stamp = _STAMP.search(line)
    counts, phase, epoch, at, of = head.groups()
    tail = line[head.end() :]
    found = {metric_name(name): number(text) for name, text in _VALUE.findall(tail)}
    values = {name: value for name, value in found.items() if value is not None}
    key = hash(line[stamp.start(1) :].rstrip()) if stamp else None
    by_iteration = counts == "Iter"
    if phase == "val":
        metrics = {name: value for name, value in values.items() if name not in ("time", "data_time")}
        under_way = "eta" in found or at != of or not metrics
        place = 1 if by_iteration else int(epoch or 0)
        return None if under_way else RowSeen(place, int(at), "val", metrics, key, by_iteration=by_iteration)
    values.pop("eta", None)
    if not values or (cut and not _WHOLE_VALUE.search(tail)) or not (by_iteration or epoch):
        return LineSkipped()
    if by_iteration:
        return RowSeen(1, int(at), "train", values, key, max_iters=int(of), by_iteration=True)
    return RowSeen(int(epoch), int(at), "train", values, key, iters_per_epoch=int(of))
