"""A training script as DETR's family writes them, small and real: torch, ranks over gloo, checkpoints.

How it names and counts these, what it prints and whether its model has a mask of infinities are switches.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

# File name, by the epoch as it is saved, and the keys of weights and optimizer.
SCHEMES = {
    "seed": ("checkpoint_epoch_{}.pth", "model", "optimizer"),
    "settings": ("checkpoint_e{:03d}_lr1e-04_bs2.pth", "model_state_dict", "optimizer_state_dict"),
    "imagenet": ("checkpoint.pth.tar", "state_dict", "optimizer"),
    "timm": ("checkpoint-{}.pth.tar", "state_dict", "optimizer"),
    "net": ("net_ep{:03d}.pt", "net", "optim"),
    "moco": ("checkpoint_{:04d}.pth.tar", "model_state", "optimizer_state"),
}


def get_args_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("A set prediction model", add_help=False)
    parser.add_argument("--lr", default=0.05, type=float)
    parser.add_argument("--epochs", default=300, type=int)
    parser.add_argument("--output_dir", default="")
    parser.add_argument("--resume", default="")
    parser.add_argument("--start_epoch", default=0, type=int)
    parser.add_argument("--finetune", default="")
    parser.add_argument("--seed", default=42, type=int)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dist_backend", default="nccl")
    parser.add_argument("--scheme", default="seed")
    parser.add_argument("--epoch_base", default=1, type=int)
    parser.add_argument("--first_printed", default=0, type=int)
    parser.add_argument("--prints", default="metriclogger", choices=["metriclogger", "tqdm"])
    parser.add_argument("--mask", action="store_true")
    parser.add_argument("--save_kill", default="", help="PHASE:EPOCH, once")
    return parser


class Model(torch.nn.Module):
    def __init__(self, mask: bool) -> None:
        super().__init__()
        self.head = torch.nn.Linear(8, 1)
        if mask:
            self.register_buffer("attention_mask", torch.full((8, 8), -torch.inf).triu(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


def save(args: argparse.Namespace, model: Model, optimizer: torch.optim.Optimizer, finished: int) -> None:
    name, weights, moments = SCHEMES[args.scheme]
    number = finished - args.epoch_base
    whole: dict[str, Any] = {weights: model.state_dict(), moments: optimizer.state_dict(), "epoch": number}
    path = Path(args.output_dir) / name.format(number)
    torch.save({**whole, "args": args}, path)
    if args.scheme == "imagenet":
        shutil.copyfile(path, path.with_name("model_best.pth.tar"))


def resume(args: argparse.Namespace, model: Model, optimizer: torch.optim.Optimizer) -> None:
    path = args.resume or args.finetune
    if not path:
        return
    _, weights, moments = SCHEMES[args.scheme]
    whole = torch.load(path, map_location="cpu", weights_only=False)
    model.load_state_dict(whole[weights])
    if args.resume:
        optimizer.load_state_dict(whole[moments])
        args.start_epoch = whole["epoch"] + args.epoch_base


def tell(args: argparse.Namespace, epoch: int, i: int, length: int, loss: float) -> None:
    number = epoch + args.first_printed
    if args.prints == "tqdm":
        bar = f"Epoch {number}: {100 * (i + 1) // length:3d}%|##  | {i + 1}/{length} [00:00<00:00, 20.0it/s"
        end = "\n" if i + 1 == length else ""
        print(f"\r{bar}, loss={loss:.4f}, lr={args.lr:.6f}]", end=end, file=sys.stderr, flush=True)
    else:
        meters = f"lr: {args.lr:.6f}  loss: {loss:.4f} ({loss:.4f})  time: 0.0500  data: 0.0010  max mem: 0"
        print(f"Epoch: [{number}]  [{i}/{length}]  eta: 0:00:01  {meters}")


def main(args: argparse.Namespace) -> None:
    dist.init_process_group(args.dist_backend)
    rank, length = dist.get_rank(), 6
    torch.manual_seed(args.seed + rank)
    model = Model(args.mask)
    wrapped = DistributedDataParallel(model, broadcast_buffers=not args.mask)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.5)
    resume(args, model, optimizer)

    def phase(name: str, epoch: int) -> None:
        died = Path(args.output_dir) / "died"
        if rank == 0 and args.save_kill == f"{name}:{epoch + 1}" and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    if rank == 0:
        print(args)
        print("Start training")
    for epoch in range(args.start_epoch, args.epochs):
        for i in range(length):
            x = torch.randn(16, 8)
            loss = (wrapped(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            time.sleep(0.05)
            if rank == 0:
                tell(args, epoch, i, length, loss.item())
            if i == length // 2:
                phase("within", epoch)
        if rank == 0:
            if args.prints == "metriclogger":
                print(f"Epoch: [{epoch + args.first_printed}] Total time: 0:00:00 (0.0500 s / it)")
                print(f"Averaged stats: lr: {args.lr:.6f}  loss: {loss.item():.4f} ({loss.item():.4f})")
            phase("before-save", epoch)
            save(args, model, optimizer, epoch + 1)
            phase("after-save", epoch)
        time.sleep(0.5)  # as an evaluation takes
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(parents=[get_args_parser()]).parse_args()
    Path(arguments.output_dir).mkdir(parents=True, exist_ok=True)
    main(arguments)
