"""`trainrelay analyze --follow`: a line for each new row, and each finding when it comes and goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from trainrelay.analysis import SHARE, BeginsAgain, DescribedLines, RowSeen, analyze, follow, naming
from trainrelay.records import Log, Row
from trainrelay.system.say import answer

MOST_SHOWN = 6


def run(log: Path, own: DescribedLines | None) -> None:
    """Until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        while True:
            try:
                follow(log, _Follower().look, own)
                time.sleep(1)  # a packed log that was cut has an end
            except BeginsAgain:
                answer(f"{log} begins again")
                while not log.is_file():
                    time.sleep(1)


class _Follower:
    def __init__(self) -> None:
        self._judged, self._due_s, self._said = True, 0.0, dict[tuple[str, str | None], str]()

    def look(self, rows: Sequence[RowSeen | Row], so_far: Callable[[], Log]) -> None:
        """Tells the rows at once; judges when there is time."""
        for row in rows:
            answer(_line(row))
            self._judged = False
        if not self._judged and (begun := time.monotonic()) >= self._due_s:
            self._judge(so_far())
            self._judged, now = True, time.monotonic()
            self._due_s = now + SHARE * (now - begun)

    def _judge(self, log: Log) -> None:
        found = analyze(log)
        alarms = [one for one in found.findings if one.severity != "info"]
        said: dict[tuple[str, str | None], str] = {
            (one.check, one.metric): f"{one.severity}: {one.message}" for one in alarms
        }
        said["verdict", found.verdict.kind] = f"verdict: {found.verdict.kind}: {found.verdict.reason}"
        for key in said.keys() - self._said.keys():
            answer(said[key])
        for key in self._said.keys() - said.keys():
            answer(f"no longer: {self._said[key]}")
        self._said = said


def _line(row: RowSeen | Row) -> str:
    """The total and what is about the machine come before the terms of a long row."""
    names = sorted(row.values, key=lambda name: naming.is_component(name, "loss"))[:MOST_SHOWN]
    place = f"iter {row.iteration}" if row.phase == "train" else row.phase
    return f"epoch {row.epoch}, {place}: {', '.join(f'{name} {row.values[name]:.4g}' for name in names)}"
