"""Breaks what a rung of the ladder needs: its environment names the habit in INJECTED_RUNG.

Runs at the start of every Python of the trainer, probes included.
"""

import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HABIT = os.environ.get("INJECTED_RUNG")


def _sleeps_in_all_reduce() -> None:
    import torch.distributed as dist  # noqa: PLC0415 (every other Python does without)

    heard = dist.all_reduce

    def all_reduce(tensor, *arguments, **named):  # type: ignore[no-untyped-def]
        if dist.get_rank() == 1:
            print("rank 1 is stuck", file=sys.stderr, flush=True)
            time.sleep(100_000)
        return heard(tensor, *arguments, **named)

    dist.all_reduce = all_reduce


if HABIT == "no-network" or (HABIT == "network-may-break" and (HERE / "network-is-broken").exists()):
    # gloo itself then says that it cannot use it.
    os.environ["GLOO_SOCKET_IFNAME"] = "nosuchif0"
elif HABIT == "hangs":
    _sleeps_in_all_reduce()
