"""What the ranks write into stamps.jsonl, beside this file: one JSON object a line.

All have `at_s` in Unix time, and the `tag` of their attempt:
    start      a rank begins; `alongside`: pids of other attempts' ranks that lived at that moment
    fired      a fault is about to happen; `checkpoints`: path -> sha256 of every epoch's checkpoint by then
    damaged    it has happened, to checkpoints; `checkpoints`: as they are now
    epoch      rank 0 begins one; `checkpoints`: as they are then
    iteration  rank 0 has finished one
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RANK = int(os.environ.get("RANK", "0"))
TAG = os.environ.get("TRAINRELAY_ATTEMPT", "")
# Of mmcv and mmengine, of DETR, of the script in docs/my_own_script.md.
EACH_EPOCH = ("epoch_*.pth", "iter_*.pth", "checkpoint0*.pth", "epoch_*.pt")


def stamp(event: str, **facts: Any) -> None:
    """One line at the end of stamps.jsonl."""
    with (HERE / "stamps.jsonl").open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if event == "start":
            # Under the lock: of two that start at once, the second sees the first.
            facts["alongside"] = _alongside(file)
        line = {"event": event, "at_s": time.time(), "tag": TAG, "rank": RANK, "pid": os.getpid(), **facts}
        file.write(json.dumps(line) + "\n")


def begin() -> None:
    """The start of this rank."""
    stamp("start", birth=birth(os.getpid()))


def _alongside(file: Any) -> list[int]:
    file.seek(0)
    seen = [json.loads(line) for line in file]
    others = [one for one in seen if one["event"] == "start" and one["tag"] != TAG]
    return [one["pid"] for one in others if birth(one["pid"]) == one["birth"]]


def birth(pid: int) -> str | None:
    """When a living process was started, in the kernel's ticks; None if there is none, or a zombie."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else rest[18]


def checkpoints(work_dir: str) -> dict[str, str]:
    """Path -> sha256 of every epoch's checkpoint."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in EACH_EPOCH
        for path in Path(work_dir).absolute().glob(pattern)
    }
