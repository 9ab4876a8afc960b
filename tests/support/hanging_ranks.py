"""Ranks over gloo that hang: rank 1 in a function of its own, the others in a collective.

Started by torch.distributed.run. Rank 0 has a data worker, made by fork, that hangs as well.
"""

from __future__ import annotations

import os
import time

import torch
import torch.distributed as dist


def stuck_here() -> None:
    time.sleep(600)


def loading_forever() -> None:
    time.sleep(600)


def main() -> None:
    if os.environ["RANK"] == "0" and os.fork() == 0:
        loading_forever()
    dist.init_process_group("gloo")
    if dist.get_rank() == 1:
        stuck_here()
    dist.all_reduce(torch.ones(4))


if __name__ == "__main__":
    main()
