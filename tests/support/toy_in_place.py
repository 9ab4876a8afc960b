"""A toy trainer that prints DETR's lines and writes over one checkpoint.pth, slowly where it is told to.

The checkpoint after epoch N (from 1) is a copy of TEMPLATES/checkpoint_N.pth. The habits are about the write
after epoch 3, once: half of it is there when the file `half` appears in the work dir, and then

- `waits` waits for the file `go`, writes the rest and trains no more,
- `killed` waits for `go` and is SIGKILLed,
- `never` never writes the rest.

That write waits for the file `begin`.
"""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

from toy_trainer import once, parsed

SLOW_EPOCH = 3


def save(source: Path, target: Path, habit: str, slow: bool) -> None:
    data = source.read_bytes()
    with target.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        if slow:
            told(target.parent, habit)
        file.write(data[len(data) // 2 :])


def told(work_dir: Path, habit: str) -> None:
    (work_dir / "half").touch()
    until("go", work_dir)
    if habit == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if habit == "never":
        time.sleep(600)


def until(name: str, work_dir: Path) -> None:
    while not (work_dir / name).exists():
        time.sleep(0.02)


def first_epoch(resume_from: Path | None, templates: Path) -> int:
    """After the epoch whose checkpoint that is, found by content."""
    if resume_from is None:
        return 1
    same = (path for path in templates.iterdir() if path.read_bytes() == resume_from.read_bytes())
    found = re.search(r"(\d+)", next(same).name)
    assert found
    return int(found[1]) + 1


def main() -> None:
    args = parsed()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    for epoch in range(first_epoch(args.resume_from, args.templates), args.epochs + 1):
        for iteration in range(args.iters):
            print(
                f"Epoch: [{epoch - 1}]  [{iteration}/{args.iters}]  eta: 0:00:01  loss: {10 / epoch:.4f}"
                "  time: 0.1",
                flush=True,
            )
        slow = epoch == SLOW_EPOCH and args.habit != "good" and once(args.work_dir)
        if slow:
            until("begin", args.work_dir)
        save(args.templates / f"checkpoint_{epoch}.pth", args.work_dir / "checkpoint.pth", args.habit, slow)
        if slow:
            time.sleep(600)


if __name__ == "__main__":
    main()
