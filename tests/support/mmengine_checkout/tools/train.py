"""Training as mmdet 3's tools/train.py starts it: the same arguments, merged in the same order.

The two lines for machines without a GPU are ours: mmengine's own set-up of ranks needs one.
"""

from __future__ import annotations

import argparse
import os

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a model")
    parser.add_argument("config", help="train config file path")
    parser.add_argument("--work-dir", help="the dir to save logs and models")
    parser.add_argument("--amp", action="store_true", default=False)
    parser.add_argument("--resume", nargs="?", type=str, const="auto")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    # When using PyTorch version >= 2.0.0, the `torch.distributed.launch` passes `--local-rank` to us.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    args = parser.parse_args()
    if "LOCAL_RANK" not in os.environ:
        os.environ["LOCAL_RANK"] = str(args.local_rank)
    return args


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    # resume is determined in this priority: resume from > auto_resume
    if args.resume == "auto":
        cfg.resume = True
        cfg.load_from = None
    elif args.resume is not None:
        cfg.resume = True
        cfg.load_from = args.resume
    if args.launcher == "pytorch" and not torch.cuda.is_available():
        torch.distributed.init_process_group(cfg.env_cfg.dist_cfg.backend)
    Runner.from_cfg(cfg).train()


if __name__ == "__main__":
    main()
