"""Real ranks over gloo with a data loader and an optimizer; rank 1 hangs.

Started by torch.distributed.run; no line that it prints is understood as progress. With `--habit starves`
rank 1 waits for its fourth batch, with `freezes` it is stopped before its fourth step, whose gradients the
others have.
"""

from __future__ import annotations

import os
import signal
import time

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset
from toy_trainer import parsed

HUNG = "rank 1 hangs"
args = parsed()


class Items(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> torch.Tensor:
        if args.habit == "starves" and index == 3 and dist.get_rank() == 1:
            print(HUNG, flush=True)
            time.sleep(600)
        return torch.ones(4)


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for number, batch in enumerate(DataLoader(Items()), start=1):
        weight.grad = batch[0]
        print(f"rank {dist.get_rank()} has batch {number}", flush=True)
        dist.all_reduce(weight.grad)
        if args.habit == "freezes" and number == 4 and dist.get_rank() == 1:
            print(HUNG, flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        optimizer.step()


if __name__ == "__main__":
    main()
