"""The keypoints demo's main.py with stamps; plan.json says where a rank is killed, or how it saves."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import main
import torch
from injected_stamps import HERE, RANK, begin, checkpoints, stamp

PLAN = json.loads((HERE / "plan.json").read_text(encoding="utf-8"))
train_one_epoch = main.train_one_epoch


class Watched:
    """A loader whose batches are stamped once they were trained on."""

    def __init__(self, loader: Any, epoch: int, folder: str) -> None:
        self._loader, self._epoch, self._folder = loader, epoch, folder

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self._loader, start=1):
            self._kill(number)
            yield batch
            if RANK == 0:
                stamp("iteration", epoch=self._epoch, iteration=number)

    def _kill(self, number: int) -> None:
        for words in PLAN:
            here = (words["rank"], words["epoch"], words["iteration"]) == (RANK, self._epoch, number)
            if here and not (HERE / "fired").exists():
                (HERE / "fired").touch()
                stamp("fired", kind=words["kind"], checkpoints=checkpoints(self._folder))
                os.kill(os.getpid(), signal.SIGKILL)


def watched(
    model: Any, criterion: Any, loader: Any, optimizer: Any, device: Any, epoch: int, *more: Any
) -> Any:
    """As main's own."""
    loader = Watched(loader, epoch + 1, args.output_dir)
    return train_one_epoch(model, criterion, loader, optimizer, device, epoch, *more)


def saves_in_place(folder: Path, parts: dict[str, Any], epoch: int, _: Any) -> None:
    """One checkpoint.pth for all epochs, written over: half of it, and the rest when a row says so.

    In the planned epoch the first half waits for the file go-on-EPOCH-1, the second for go-on-EPOCH-2, before
    which this rank is killed where the plan wants it, and what follows for go-on-EPOCH-3.
    """
    whole = io.BytesIO()
    torch.save({**{name: part.state_dict() for name, part in parts.items()}, "epoch": epoch}, whole)
    half, words = len(whole.getbuffer()) // 2, PLAN[0]
    due = words["epoch"] == epoch + 1 and not (HERE / "fired").exists()
    _gate(epoch + 1, 1, due=due)
    with (folder / "checkpoint.pth").open("wb") as file:
        file.write(whole.getbuffer()[:half])
        file.flush()
        if due:
            (HERE / "fired").touch()
            stamp("fired", kind=words["kind"], checkpoints={})
        if due and words["kind"] == "killed-while-saving":
            os.kill(os.getpid(), signal.SIGKILL)
        _gate(epoch + 1, 2, due=due)
        file.write(whole.getbuffer()[half:])
    _gate(epoch + 1, 3, due=due)


def _gate(epoch: int, number: int, *, due: bool) -> None:
    while due and not (HERE / f"go-on-{epoch}-{number}").exists():
        time.sleep(0.05)


if __name__ == "__main__":
    begin()
    if any("while-saving" in words["kind"] for words in PLAN):
        main.checkpoint.save_epoch = saves_in_place
    args = main.parse_args()
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    main.train_one_epoch = watched
    main.main(args)
