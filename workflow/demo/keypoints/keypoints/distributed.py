"""One process or several: who am I, what do the others say."""

import argparse
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_rank() -> int:
    return dist.get_rank() if is_distributed() else 0


def get_world_size() -> int:
    return dist.get_world_size() if is_distributed() else 1


def init_distributed_mode(args: argparse.Namespace) -> None:
    """Join the other ranks when started by a launcher; from here on only rank 0 prints."""
    args.distributed = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    if not args.distributed:
        print("Not using distributed mode")
        return
    args.rank, args.world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    args.gpu = int(os.environ["LOCAL_RANK"])
    if args.rank > 0:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115, open until the process ends
    if torch.device(args.device).type == "cuda":
        torch.cuda.set_device(args.gpu)
    print(f"| distributed init (rank {args.rank}): {args.dist_url}", flush=True)
    dist.init_process_group(
        args.dist_backend, init_method=args.dist_url, world_size=args.world_size, rank=args.rank
    )
    dist.barrier()


def reduce_dict(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean over the ranks of each scalar, in one message."""
    if get_world_size() == 1:
        return values
    stacked = torch.stack([value.detach() for value in values.values()])
    dist.all_reduce(stacked)
    return dict(zip(values, stacked / get_world_size(), strict=True))


def sum_over_ranks(values: list[float], device: torch.device) -> list[float]:
    if get_world_size() == 1:
        return values
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.tolist()
