"""A rank that waits where a row wants it, until Bench.go_on() says that it need not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def wait(runner: Any) -> None:
    """The other ranks wait for this one in their next collective."""
    gate = HERE / f"go-on-{runner.epoch + 1}-{runner.inner_iter + 1}"
    while not gate.exists():
        time.sleep(0.05)


KINDS = {"wait": wait}
