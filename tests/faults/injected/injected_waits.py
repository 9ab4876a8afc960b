"""A rank that waits where a row wants it, until Bench.go_on() says that it need not."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def wait_for_writers() -> None:
    """Step checkpoints are written by a thread beside the next iterations, at whose ends none is saved."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()


def wait(runner: Any) -> None:
    """The other ranks wait for this one in their next collective."""
    gate = HERE / f"go-on-{runner.epoch + 1}-{runner.inner_iter + 1}"
    while not gate.exists():
        time.sleep(0.05)


def talk(runner: Any) -> None:
    """It waits and prints what no reader of logs knows."""
    gate = HERE / f"go-on-{runner.epoch + 1}-{runner.inner_iter + 1}"
    while not gate.exists():
        print("still at it | ce 1.23", flush=True)
        time.sleep(0.5)


def spin(runner: Any) -> None:
    """As a rank that waits in NCCL: the processor is busy, and now and then it complains."""
    while True:
        until_s = time.monotonic() + 1
        while time.monotonic() < until_s:
            pass
        print("waiting for rank 0", flush=True)


KINDS = {"wait": wait, "talk": talk, "spin": spin}
