"""Room and memory that end while a rank trains."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import torch

MOST_BYTES = 2**26
LEFT_BYTES = 65_536  # enough for lines of a log, too little for a checkpoint
LEFT_BESIDE_BYTES = 2**20  # the same for two logs from beginning to end, notes and records


def disk_nearly_full(runner: Any) -> None:
    """Logs still fit, a checkpoint does not."""
    _fill(Path(runner.work_dir), LEFT_BYTES)


def disk_of_steps_nearly_full(runner: Any) -> None:
    """All that an attempt writes still fits, except a step checkpoint."""
    _fill(Path(os.environ["TRAINRELAY_HOOK"]), LEFT_BESIDE_BYTES)


def disk_full(runner: Any) -> None:
    """Nothing fits, not even a line of a log."""
    _fill(Path(runner.work_dir), 0)


def _fill(inside: Path, left_bytes: int) -> None:
    """A file called `ballast` takes what is free on the small disk that holds this path."""
    disk = next(folder for folder in inside.parents if folder.is_mount())
    facts = os.statvfs(disk)
    assert facts.f_blocks * facts.f_frsize <= MOST_BYTES, f"{disk} is no disk for this"
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(max(0, facts.f_bavail * facts.f_frsize - left_bytes)))


def file_size(runner: Any) -> None:
    """No file of this rank may grow beyond half a checkpoint."""
    size = (Path(runner.work_dir) / "epoch_1.pth").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))


def _memory_ends() -> None:
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))


def memory_of_torch(runner: Any) -> None:
    """A tensor that the rank's limit does not allow."""
    _memory_ends()
    torch.zeros(2**31)


def memory_of_python(runner: Any) -> None:
    """Bytes that the rank's limit does not allow."""
    _memory_ends()
    bytearray(2**33)


def memory_of_gpu(runner: Any) -> None:
    """What torch raises when a model does not fit an A40."""
    raise torch.cuda.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 44.35 GiB of which"
        " 1.21 GiB is free. Including non-PyTorch memory, this process has 43.13 GiB memory in use. Of the"
        " allocated memory 41.87 GiB is allocated by PyTorch, and 783.92 MiB is reserved by PyTorch but"
        " unallocated. If reserved but unallocated memory is large try setting"
        " PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
    )


KINDS = {
    "disk-nearly-full": disk_nearly_full,
    "disk-of-steps-nearly-full": disk_of_steps_nearly_full,
    "disk-full": disk_full,
    "file-size": file_size,
    "memory-of-torch": memory_of_torch,
    "memory-of-python": memory_of_python,
    "memory-of-gpu": memory_of_gpu,
}
