"""Disks and memory that end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from faults.bench import Bench
from faults.fault import Measurement, fault
from faults.launch import Launch

DISK_MB = 32
DECISION = "your decision (exit status 2)"
DISK_FULL = "disk-full, final, nothing damaged; a relaunch with room completes"


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def small_disk(bench: Bench, folder: Path) -> bool:
    """A separate disk at `folder` until all is looked at; False if this user may not mount."""
    folder.mkdir(parents=True)
    if not _mount("-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)):
        return False
    # Lazily: what a row left running may still have files open there.
    bench.undo.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
    return True


def _then_completes(bench: Bench, seen: Measurement, fix: Callable[[], object]) -> Measurement:
    """Once the cause is fixed, the same command again resumes after the last whole epoch and completes."""
    before = len(bench.attempts())
    fix()
    launch = bench.train()
    status = launch.wait()
    assert (status, bench.complete()) == (0, True), f"once fixed, it ended {status} and said:\n{launch.text}"
    point = bench.attempts()[before].resumed_from
    assert point, f"once fixed, it began from scratch:\n{launch.text}"
    assert point.epoch == 1, f"once fixed, it resumed after epoch {point.epoch}"
    return replace(seen, result="final; fixed, it resumes and completes")


def _full(bench: Bench, kind: str, fix: Callable[[], object]) -> Measurement:
    bench.inject(kind=kind, rank=0, epoch=2, iteration=2)
    seen = bench.final(bench.train(), 2, "disk-full")
    return _then_completes(bench, seen, fix)


@fault(
    "disk-full",
    "disk full",
    injected="epoch 2, iteration 2: the work dir's tmpfs is filled up to 64 kB (a file-size limit where this"
    " user may not mount)",
    must=DISK_FULL,
)
def disk_full(bench: Bench) -> Measurement:
    disk = bench.folder / "small disk"
    if not small_disk(bench, disk):
        return quota(bench)
    bench.configure(work_dir=str(disk / "stage1"))
    return _full(bench, "disk-nearly-full", (disk / "ballast").unlink)


@fault(
    "results-full",
    "disk full, records and logs are on it too",
    injected="epoch 2, iteration 2: the tmpfs of runs/ is filled to its last byte",
    must="final, one sentence, nothing damaged; a relaunch with room completes",
)
def results_full(bench: Bench) -> Measurement:
    runs = bench.folder / "runs"
    assert small_disk(bench, runs), "this user may not mount"
    bench.inject(kind="disk-full", rank=0, epoch=2, iteration=2)
    launch = bench.train()
    last = _one_sentence(launch, "free space")
    assert "the disk is full" in last, f"its last line does not say why: {last}"
    noticed_s = launch.lines[-1][0] - bench.moments()[0]["at_s"]
    seen = Measurement(noticed_s, bench.attempts()[0].end or "end not recorded", DECISION, "final")
    return _then_completes(bench, seen, (runs / "ballast").unlink)


def _one_sentence(launch: Launch, says: str) -> str:
    """The last line of a launch that ended 2; it says what to do."""
    status, last = launch.wait(), launch.text.strip().splitlines()[-1]
    assert status == 2, f"it ended with exit status {status} and said:\n{launch.text}"
    assert "Traceback" not in launch.text, launch.text
    assert says in last, f"its last line does not say {says!r}: {last}"
    return last


@fault(
    "quota",
    "quota",
    injected="epoch 2, iteration 2: RLIMIT_FSIZE of rank 0 becomes half a checkpoint",
    must=DISK_FULL,
)
def quota(bench: Bench) -> Measurement:
    return _full(bench, "file-size", bench.inject)


def _read_only(bench: Bench, disk: Path) -> Callable[[], object]:
    """An interrupted training, then its disk is remounted read-only; what makes it writable again."""
    bench.interrupted(epoch=2)
    assert _mount("-o", "remount,ro", str(disk)), f"{disk} cannot be made read-only"
    bench.injected_now("read-only")
    return lambda: _mount("-o", "remount,rw", str(disk))


@fault(
    "results-read-only",
    "results read-only",
    injected="the file system of runs/ is remounted read-only after an interrupt in epoch 2 (skipped, and"
    " missed, where this user may not mount)",
    must="final before any attempt, one sentence, nothing damaged; writable again, it completes",
)
def results_read_only(bench: Bench) -> Measurement:
    runs = bench.folder / "runs"
    assert small_disk(bench, runs), "this user may not mount"
    fix = _read_only(bench, runs)
    launch = bench.train()
    last = _one_sentence(launch, "writable and run the same command again")
    assert "Read-only file system" in last, f"its last line does not say why: {last}"
    assert len(bench.attempts()) == 1, "an attempt was begun"
    noticed_s = launch.said_at("Read-only file system") - bench.moments()[-1]["at_s"]
    seen = Measurement(noticed_s, "not begun", DECISION, "final")
    return _then_completes(bench, seen, fix)


@fault(
    "work-dir-read-only",
    "work dir read-only",
    injected="the work dir's file system is remounted read-only after an interrupt in epoch 2",
    must=DISK_FULL,
)
def work_dir_read_only(bench: Bench) -> Measurement:
    disk = bench.folder / "small disk"
    assert small_disk(bench, disk), "this user may not mount"
    bench.configure(work_dir=str(disk / "stage1"))
    fix = _read_only(bench, disk)
    launch = bench.train()
    injected_s = bench.moments()[-1]["at_s"]
    bench.injected_now("still read-only")
    ends = [record.end for record in bench.attempts()]
    assert ends == ["interrupted", "disk-full"], f"the attempts ended {ends}; it said:\n{launch.text}"
    ended_s = bench.attempts()[-1].ended_s
    assert ended_s
    seen = Measurement(ended_s - injected_s, "disk-full", DECISION, "final")
    return _then_completes(bench, seen, fix)


# ---------------------------------------------------------------------- memory


@fault(
    "host-memory-once",
    "host out of memory, once",
    injected="epoch 2, iteration 3: RLIMIT_AS in rank 1, then an 8 GiB tensor",
    must="oom-host; tried again, completes",
)
def host_memory_once(bench: Bench) -> Measurement:
    bench.inject(kind="memory-of-torch", rank=1, epoch=2, iteration=3)
    seen = bench.resumed(bench.train(), "oom-host")
    assert "DefaultCPUAllocator" in bench.log(1), "torch's allocator never said that memory ran out"
    return seen


@fault(
    "host-memory-again",
    "host out of memory, again and again",
    injected="epoch 1, iteration 3: RLIMIT_AS in rank 1, then 8 GiB of bytes, each time",
    must="oom-host; tried again, then final",
)
def host_memory_again(bench: Bench) -> Measurement:
    bench.inject(kind="memory-of-python", rank=1, epoch=1, iteration=3, once=False)
    seen = bench.final(bench.train(), 2, "oom-host", "oom-host")
    assert "MemoryError" in bench.log(2), "Python never said that memory ran out"
    return seen


@fault(
    "gpu-memory",
    "GPU out of memory",
    injected="epoch 2, iteration 3: rank 1 raises torch's own OutOfMemoryError with its real text",
    must="oom-gpu, final at once",
)
def gpu_memory(bench: Bench) -> Measurement:
    bench.inject(kind="memory-of-gpu", rank=1, epoch=2, iteration=3)
    return bench.final(bench.train(), 2, "oom-gpu")
