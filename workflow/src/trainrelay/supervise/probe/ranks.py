"""Lets the ranks of a training talk as DistributedDataParallel does, and checks what they receive.

The trainer's own interpreter runs this file, so it imports nothing of trainrelay and holds for Python 3.8 and
torch 1.9. The launcher starts it once per rank. Each prints a line before each phase, so that a hang tells
where each rank is: several nodes share no folder that shows new files at once.

    trainrelay: {"rank": 0, "phase": "all_reduce 25 MB"}
    trainrelay: {"rank": 0, "phase": "done", "gb_per_s": {"25": 3.1}}                   all went well
    trainrelay: {"rank": 0, "phase": "all_reduce 25 MB", "error": "..", "at_s": ..}     at_s is Unix time
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import time
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

BYTES_PER_MB = 1024 * 1024  # as DistributedDataParallel counts its buckets
_FLOAT32_BYTES = 4
# A prime, so that blocks that change places do not fit. Below 2**24 float32 counts exactly, in whatever order
# the ranks are added up: 251 * 16 * 1024 ranks is.
_PERIOD = 251
_WEIGHTS = 16


def main() -> int:
    """The exit status: 0 where every value was right."""
    arguments = _arguments()
    # This file's folder is no place to import from: its other files are no modules of the trainer's.
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    faulthandler.enable()
    rank = int(os.environ["RANK"])
    notes = _Notes(rank)
    notes.phase("import torch")
    faulthandler.dump_traceback_later(arguments.stacks_after_s)
    try:
        _talk(arguments, rank, notes)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is why this backend fails)
        traceback.print_exc()
        notes.failed(error)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Let the ranks talk, and check what they receive.")
    parser.add_argument("--backend", required=True)
    parser.add_argument("--device", required=True, choices=("cpu", "cuda"))
    parser.add_argument("--sizes-mb", type=int, nargs="+", required=True)
    parser.add_argument("--stacks-after-s", type=float, required=True, help="print every thread's stack then")
    return parser.parse_args()


class _Notes:
    """What a rank reports; each line is on its way to the reader before the phase begins."""

    def __init__(self, rank: int) -> None:
        self._rank, self._phase = rank, ""

    def phase(self, phase: str) -> None:
        """The rank begins this."""
        self._phase = phase
        self._write({"phase": phase})

    def done(self, gb_per_s: dict[int, float]) -> None:
        """Every value was right."""
        self._write({"phase": "done", "gb_per_s": gb_per_s})

    def failed(self, error: BaseException) -> None:
        """The rank cannot continue."""
        text = f"{type(error).__name__}: {error}"
        self._write({"phase": self._phase, "error": text, "at_s": time.time()})

    def _write(self, line: dict[str, Any]) -> None:
        # As one write, so that the lines of ranks that share the output stay whole.
        os.write(1, f"trainrelay: {json.dumps({'rank': self._rank, **line})}\n".encode())


def _talk(arguments: argparse.Namespace, rank: int, notes: _Notes) -> None:
    """What DistributedDataParallel asks of a backend, from the meeting of the ranks to their parting."""
    torch, dist = import_module("torch"), import_module("torch.distributed")
    notes.phase("device")
    device = _device(torch, arguments.device)
    notes.phase("init_process_group")
    dist.init_process_group(arguments.backend)
    ranks = Ranks(torch, dist, device, rank, int(os.environ["WORLD_SIZE"]))
    speeds: dict[int, float] = {}
    for size_mb in arguments.sizes_mb:
        notes.phase(f"broadcast {size_mb} MB")
        ranks.broadcast(size_mb)
        notes.phase(f"all_reduce {size_mb} MB")
        speeds[size_mb] = ranks.all_reduce(size_mb)
    notes.phase("barrier")
    dist.barrier()
    ranks.finish()
    notes.done(speeds)
    # Nothing that a training needs is still to be shown; whoever reads the notes may end us from here on.
    with suppress(Exception):
        dist.destroy_process_group()


def _device(torch: Any, kind: str) -> Any:
    """The rank's device. Without a GPU it is still called cuda, so that torch says itself what is missing."""
    if kind == "cpu" or not torch.cuda.is_available():
        return torch.device(kind)
    index = int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count()
    torch.cuda.set_device(index)
    return torch.device(kind, index)


class WrongValuesError(Exception):
    """The ranks talk, but what arrives is not what was sent."""


class Ranks:
    """The collectives of this rank; each checks what it receives, and raises WrongValuesError."""

    def __init__(self, torch: Any, dist: Any, device: Any, rank: int, world_size: int) -> None:
        self._torch, self._dist, self._device = torch, dist, device
        self._rank, self._world_size = rank, world_size

    def broadcast(self, size_mb: int) -> None:
        """Rank 0's values reach everybody."""
        wanted = self._pattern(size_mb)
        got = wanted.clone() if self._rank == 0 else self._torch.zeros_like(wanted)
        self._dist.broadcast(got, 0)
        self._check("broadcast", size_mb, got, wanted)

    def all_reduce(self, size_mb: int) -> float:
        """All get the sum of all ranks' own values. Bytes / time in GB/s, mean of two after a first."""
        pattern = self._pattern(size_mb)
        wanted = pattern * sum(_weight(rank) for rank in range(self._world_size))
        _, *times_s = [self._timed(size_mb, pattern, wanted) for _ in range(3)]
        return size_mb * BYTES_PER_MB * len(times_s) / sum(times_s) / 1e9

    def _timed(self, size_mb: int, pattern: Any, wanted: Any) -> float:
        got = pattern * _weight(self._rank)
        self._dist.barrier()  # so that no rank's time holds another's delay
        self.finish()
        begun_s = time.perf_counter()
        self._dist.all_reduce(got)
        self.finish()
        took_s = time.perf_counter() - begun_s
        self._check("all_reduce", size_mb, got, wanted)
        return max(took_s, 1e-9)

    def finish(self) -> None:
        """Waits for the GPU: calls on it return before they are carried out."""
        if self._device.type == "cuda":
            self._torch.cuda.synchronize()

    def _pattern(self, size_mb: int) -> Any:
        count = size_mb * BYTES_PER_MB // _FLOAT32_BYTES
        period = self._torch.arange(1, _PERIOD + 1, dtype=self._torch.float32, device=self._device)
        return period.repeat(count // _PERIOD + 1)[:count]

    def _check(self, what: str, size_mb: int, got: Any, wanted: Any) -> None:
        wrong = got != wanted  # also true of NaN
        count = int(wrong.sum())
        if count:
            first = int(wrong.nonzero()[0])
            raise WrongValuesError(
                f"{what} of {size_mb} MB: {count} of {got.numel()} values are wrong; the first, at position"
                f" {first} of the tensor, is {got[first].item():g} and should be {wanted[first].item():g}"
            )


def _weight(rank: int) -> int:
    """What makes a rank's values its own."""
    return rank % _WEIGHTS + 1


if __name__ == "__main__":
    sys.exit(main())
