"""What the ranks of a project stamped, read (see injected/injected_stamps.py)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stamps:
    """Every stamp of a project, oldest first."""

    lines: tuple[dict[str, Any], ...]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The stamps of one kind."""
        return [line for line in self.lines if line["event"] == event]

    def redone(self) -> list[int]:
        """How many iterations each attempt after the first did that one before it had done; what was trained
        before a training began again on purpose does not count.
        """
        done: set[tuple[int, int]] = set()
        redone: Counter[tuple[str, int]] = Counter()  # by tag and by pid, for a tag can be cleared away
        for line in self.lines:
            if line["event"] == "new-training":
                done.clear()
            if line["event"] != "iteration":
                continue
            place = (line["epoch"], line["iteration"])
            redone[line["tag"], line["pid"]] += place in done
            done.add(place)
        return list(redone.values())[1:]

    def two_at_once(self, apart: Container[str] = ()) -> list[str]:
        """A sentence for each rank that began while one of another attempt, not one `apart`, lived."""
        allowed = {line["pid"] for line in self.of("start") if line["tag"] in apart}
        return [
            f"rank {line['rank']} of attempt {line['tag'][:8]} began while pids {pids} trained"
            for line in self.of("start")
            if (pids := [pid for pid in line["alongside"] if pid not in allowed])
        ]


def read_stamps(path: Path) -> Stamps:
    """The stamps of a file; none if there is none. A line that is being written is left out."""
    if not path.exists():
        return Stamps(())
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return Stamps(tuple(json.loads(line) for line in whole.splitlines()))
