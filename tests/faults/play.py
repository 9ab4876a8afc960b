"""One fault played from a fresh project to the checks that hold for all faults."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from faults.bench import ITERATIONS, Bench
from faults.fault import Fault, FaultResult, Measurement
from faults.slurm_bench import SlurmBench
from slurm.rig import Rig


def play(fault: Fault, folder: Path, rig: Rig | None = None) -> FaultResult:
    """Plays a fault in a project made in `folder`; whatever goes wrong is a miss, never an exception.

    A fault on the rig needs one that is up.
    """
    begun_s = time.monotonic()
    bench = SlurmBench(folder, rig) if fault.on_rig and rig else Bench(folder)
    with bench.undo:
        return _judged(fault, bench, begun_s)


def _judged(fault: Fault, bench: Bench, begun_s: float) -> FaultResult:
    try:
        seen, missed = _row(fault, bench)
    finally:  # Ctrl-C, too, leaves nothing behind
        jobs = bench.jobs_left()
        left = _left(bench)
    stamps = bench.stamps()
    redone = stamps.redone()
    problems = [
        *([missed] if missed else []),
        *jobs,
        *_broken(bench, left, redone),
        *stamps.two_at_once(bench.apart),
    ]
    return FaultResult(
        name=fault.name,
        what=fault.what,
        injected=fault.injected,
        must=fault.must,
        noticed_after_s=round(seen.noticed_after_s, 1) if seen else None,
        ended_as=seen.ended_as if seen else None,
        next_step=seen.next_step if seen else None,
        redone_iterations=sum(redone),
        checkpoint_interval=ITERATIONS,
        processes_left=len(left),
        result=seen.result if seen else None,
        took_s=round(time.monotonic() - begun_s, 1),
        machine=machine(),
        missed="\n".join(problems) or None,
    )


def _row(fault: Fault, bench: Bench) -> tuple[Measurement | None, str | None]:
    try:
        return fault.row(bench), None
    except AssertionError as error:
        return None, str(error) or "an assertion without a message failed"
    except Exception as error:  # noqa: BLE001 (the other rows are still to be played)
        return None, f"the row itself failed: {type(error).__name__}: {error}"


def _left(bench: Bench) -> list[int]:
    """What a row left behind, counted and then ended: the next row must not suffer from it."""
    left = bench.processes()
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left


def _broken(bench: Bench, left: list[int], redone: list[int]) -> Iterator[str]:
    """A sentence for each thing that must hold after any fault and does not."""
    if left:
        yield f"{len(left)} processes were left: {left}"
    if max(redone, default=0) > ITERATIONS:
        yield f"an attempt redid {max(redone)} iterations, more than the {ITERATIONS} between checkpoints"
    if not bench.moments():
        yield "nothing was injected"
    for moment in bench.moments():
        yield from _lost(moment["kind"], moment["checkpoints"])


def _lost(kind: str, checkpoints: dict[str, str]) -> Iterator[str]:
    for name, digest in checkpoints.items():
        path = Path(name)
        if not path.exists():
            yield f"{path.name} was there when the fault ({kind}) happened and is gone"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            yield f"{path.name} is not as it was when the fault ({kind}) happened"


def machine() -> str:
    """Where the figures come from."""
    system = f"{platform.system()} {platform.machine()}"
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}, torch {torch.__version__}"
