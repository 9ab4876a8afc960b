"""The end of a training, read from whole consoles under errors/.

torch-2.13: provoked with two gloo ranks under torch.distributed.run. torch-1.12: written after its spellings.
The first line of each says the launcher's exit status.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trainrelay.supervise.classify import End, Evidence, classify
from trainrelay.trainers import StepSeen

ERRORS = Path(__file__).parent / "errors"
STEP = StepSeen(epoch=2, iteration=40, iters_per_epoch=100, loss=1.5, eta_s=None)
# What the fixtures' trainers print of their progress.
PROGRESS = re.compile(r"^iteration \d|^rank \d up|mmdet - INFO - Epoch", re.MULTILINE)

BOXES = "rank 1: ValueError: boxes must be of shape (n, 9), got (12, 7)"
ENDS = {
    "torch-2.13/rank-sigkilled": ("killed", "rank 1 was ended by SIGKILL"),
    "torch-2.13/rank-sigkilled-in-all-reduce": ("killed", "rank 1 was ended by SIGKILL"),
    "torch-2.13/rank-sigkilled-while-its-worker-serves": ("killed", "rank 0 was ended by SIGKILL"),
    "torch-2.13/rank-sigterm": ("killed", "rank 1 was ended by SIGTERM"),
    "torch-2.13/rank-segfaults": ("trainer-bug", "rank 1 crashed with SIGSEGV"),
    "torch-2.13/rank-raises": ("trainer-bug", "rank 1: KeyError: 'img_metas'"),
    "torch-2.13/rank-raises-before-training": ("trainer-bug", "nuscenes_infos_temporal_train"),
    "torch-2.13/rank-raises-in-training": ("trainer-bug", BOXES),
    "torch-2.13/rank-raises-after-others-lost-it": ("trainer-bug", BOXES),
    "torch-2.13/rank-exits-3": ("trainer-bug", "rank 1 exited with status 3"),
    "torch-2.13/rank-refuses-its-arguments": (
        "trainer-bug",
        "rank 0 exited with status 2: train.py: error: unrecognized arguments: --local-rank=0",
    ),
    "torch-2.13/rank-exits-0-early": ("trainer-bug", "rank 1 crashed with SIGABRT"),
    "torch-2.13/rank-exits-0-cleanly": ("unfinished", "1 of 2 ranks exited 0"),
    "torch-2.13/rank-exits-0-at-once": ("unfinished", "1 of 2 ranks exited 0"),
    "torch-2.13/rank-out-of-gpu-memory": ("oom-gpu", "CUDA out of memory. Tried to allocate 2.00 GiB"),
    "torch-2.13/host-memory-one-rank": ("oom-host", "rank 1: RuntimeError: [enforce fail at alloc_cpu.cpp"),
    "torch-2.13/host-memory-python": ("oom-host", "rank 1: MemoryError"),
    "torch-2.13/data-worker-oom": ("oom-host", "tried to allocate 8589934592 bytes"),
    "torch-2.13/data-worker-killed": ("oom-host", "is killed by signal: Killed"),
    "torch-2.13/data-worker-sigkilled": ("killed", "a data worker vanished"),
    "torch-2.13/data-worker-raises": ("trainer-bug", "FileNotFoundError: no such image"),
    "torch-2.13/disk-full-write": ("disk-full", "No space left on device"),
    "torch-2.13/disk-full-torch-save": ("disk-full", "iostream error"),
    "torch-2.13/disk-full-fsize": ("disk-full", "iostream error"),
    "torch-2.13/disk-full-fsize-legacy": ("disk-full", "File too large"),
    "torch-2.13/loss-nan-stop": ("diverged", "Loss is nan, stopping training"),
    "torch-2.13/loss-nan-stop-one-rank": ("diverged", "Loss is nan, stopping training"),
    "torch-2.13/anomaly-nan": ("diverged", "returned nan values"),
    "torch-2.13/nccl-without-gpu": ("comm", "doesn't have NCCL built in"),
    "torch-2.13/gloo-timeout": ("comm", "Timed out waiting 5000ms"),
    "torch-2.13/rank-never-joins": ("comm", "wait timeout after 5000ms"),
    "torch-2.13/port-taken-at-launcher": ("port", "EADDRINUSE"),
    "torch-2.13/port-taken-by-rank": ("port", "EADDRINUSE"),
    "torch-2.13/sigterm-at-launcher": ("killed", "got signal: 15"),
    "torch-2.13/sigint-at-launcher": ("killed", "KeyboardInterrupt"),
    "torch-2.13/rank-sigkilled-under-spawn": ("killed", "process 1 terminated with signal SIGKILL"),
    "torch-2.13/sigkill-at-launcher": ("killed", "its command was ended by SIGKILL"),
    "torch-1.12/rank-sigkilled": ("killed", "rank 1 was ended by SIGKILL"),
    "torch-1.12/rank-raises": ("trainer-bug", "KeyError: 'gt_inds'"),
    "torch-1.12/rank-raises-after-others-lost-it": ("trainer-bug", "KeyError: 'gt_inds'"),
    "torch-1.12/rank-exits-0-early": ("unfinished", "1 of 2 ranks exited 0"),
    "torch-1.12/connection-lost": ("comm", "Connection closed by peer [127.0.0.1]:44291"),
    "torch-1.12/nccl-system-error": ("comm", "unhandled system error"),
    "torch-1.12/nccl-no-gpus": ("comm", "no GPUs found!"),
    "torch-1.12/nccl-watchdog": ("comm", "Watchdog caught collective operation timeout"),
    "torch-1.12/nccl-duplicate-gpu": ("comm", "invalid usage"),
    "torch-1.12/nccl-shared-memory": ("comm", "unhandled system error"),
    "torch-1.12/oom-gpu": ("oom-gpu", "CUDA out of memory. Tried to allocate 2.25 GiB"),
    "torch-1.12/oom-gpu-cuda-error": ("oom-gpu", "CUDA error: out of memory"),
    "torch-1.12/oom-gpu-inside-nccl": ("oom-gpu", "Cuda failure 'out of memory'"),
    "torch-1.12/data-worker-killed": ("oom-host", "is killed by signal: Killed"),
    "torch-1.12/data-worker-bus-error": ("oom-host", "is killed by signal: Bus error"),
    "torch-1.12/port-taken": ("port", "Address already in use"),
    "torch-1.12/port-taken-1.9": ("port", "Address already in use"),
    "torch-1.12/launch-before-elastic": ("killed", "a rank was ended by SIGKILL"),
}


def console(name: str) -> tuple[int, str]:
    """A fixture's exit status and text."""
    first, text = (ERRORS / f"{name}.txt").read_text().split("\n", 1)
    return int(first.removeprefix("exit status ")), text


def ended(name: str, rewritten: re.Pattern[str] | None = None) -> End:
    status, text = console(name)
    text = rewritten.sub("", text) if rewritten else text
    step = STEP if PROGRESS.search(text) else None
    lines = text.splitlines()
    return classify(Evidence(exit_status=status, asked=3, lines=lines, local_ranks=2, last_step=step))


@pytest.mark.parametrize("name", ENDS)
def test_console_has_its_class_and_its_evidence(name: str) -> None:
    """A console is classified by its cause, and the cause is quoted."""
    kind, evidence = ENDS[name]
    end = ended(name)
    assert (end.kind, evidence in end.reason) == (kind, True), end


@pytest.mark.parametrize("name", [name for name in ENDS if name.startswith("torch-2.13")])
def test_console_has_its_class_without_rank_prefixes(name: str) -> None:
    """Older launchers do not say which rank wrote a line; the class is the same."""
    end = ended(name, re.compile(r"^\[rank\d\]: ", re.MULTILINE))
    assert end.kind == ENDS[name][0], end


# The line of the traceback that the reason names: of the trainer's own code.
PLACES = {
    "torch-2.13/rank-raises": "/opt/trainer/tools/train.py, line 12",
    "torch-2.13/data-worker-raises": "/opt/trainer/tools/train.py, line 32",
    "torch-1.12/rank-raises": "projects/mmdet3d_plugin/datasets/nuscenes_e2e_dataset.py, line 412",
    "torch-2.13/rank-refuses-its-arguments": None,
}


@pytest.mark.parametrize("name", PLACES)
def test_an_exception_is_named_with_file_and_line(name: str) -> None:
    found = re.search(r"\((\S+, line \d+)\)$", ended(name).reason)
    assert (found[1] if found else None) == PLACES[name]


def test_every_console_has_an_expected_end() -> None:
    """No fixture is left untested."""
    there = {f"{path.parent.name}/{path.name.removesuffix('.txt')}" for path in ERRORS.rglob("*.txt")}
    assert there == ENDS.keys()


@pytest.mark.parametrize("name", [name for name, (kind, _) in ENDS.items() if kind == "port"])
def test_port_is_a_matter_of_the_start(name: str) -> None:
    """Once ranks have trained together their port was free: the same words are communication then."""
    status, text = console(name)
    evidence = Evidence(status, 3, text.splitlines(), local_ranks=2, last_step=STEP)
    assert classify(evidence).kind == "comm"
