"""Real ranks over gloo that train nothing: each iteration is an all-reduce.

Started by torch.distributed.run. Rank 0 prints mmcv's lines and saves. With `--habit killed` rank 1 is
SIGKILLed in epoch 2, with `waits` it stops taking part there.
"""

from __future__ import annotations

import os
import signal
import time

import torch
import torch.distributed as dist
from toy_trainer import first_epoch, parsed, save, say


def misbehave(habit: str, epoch: int) -> None:
    if epoch < 2 or dist.get_rank() == 0:
        return
    if habit == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif habit == "waits":
        time.sleep(600)


def main() -> None:
    args = parsed()
    dist.init_process_group("gloo")
    first = dist.get_rank() == 0
    for epoch in range(first_epoch(args), args.epochs + 1):
        for iteration in range(1, args.iters + 1):
            if first:
                say(f"Epoch [{epoch}][{iteration}/{args.iters}]\tlr: 1.000e-04, eta: 0:00:09, loss: 1.0")
            misbehave(args.habit, epoch)
            dist.all_reduce(torch.ones(4))
        if first:
            save(args, epoch)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
