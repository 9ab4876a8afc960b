"""Training as mmseg 0.x's tools/train.py starts it: the same arguments, runner, loaders and evaluation.

Ours: a process group without GPUs, and DDP on the CPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from toy_mmseg import ToyData, ToyModel  # before mmcv, which would not be imported

from mmcv import Config, DictAction
from mmcv.parallel import MMDistributedDataParallel
from mmcv.runner import DistEvalHook, build_optimizer, build_runner, set_random_seed
from mmcv.utils import get_logger


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a segmentor")
    parser.add_argument("config", help="train config file path")
    parser.add_argument("--work-dir", help="the dir to save logs and models")
    parser.add_argument("--load-from", help="the checkpoint file to load weights from")
    parser.add_argument("--resume-from", help="the checkpoint file to resume from")
    parser.add_argument("--no-validate", action="store_true")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or "work_dirs"
    if args.load_from is not None:
        cfg.load_from = args.load_from
    if args.resume_from is not None:
        cfg.resume_from = args.resume_from
    dist.init_process_group(**cfg.dist_params)
    Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    timestamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    logger = get_logger("mmseg", str(Path(cfg.work_dir) / f"{timestamp}.log"), cfg.log_level)
    logger.info("Distributed training: True")
    logger.info(f"Config:\n{cfg.pretty_text}")
    set_random_seed(args.seed or 0, deterministic=args.deterministic)
    train(cfg, ToyModel(), logger, timestamp, validate=not args.no_validate)


def train(cfg: Config, model: ToyModel, logger: object, timestamp: str, validate: bool) -> None:
    """As mmseg.apis.train_segmentor."""
    data = ToyData(cfg.data.length)
    loader = DataLoader(data, cfg.data.samples_per_gpu, sampler=DistributedSampler(data), drop_last=True)
    model = MMDistributedDataParallel(model)
    model._use_replicated_tensor_module = (
        False  # newer torch has it no more, and mmcv's evaluation asks for it
    )
    if cfg.get("runner") is None:
        cfg.runner = {"type": "IterBasedRunner", "max_iters": cfg.total_iters}
    runner = build_runner(
        cfg.runner,
        default_args={
            "model": model,
            "optimizer": build_optimizer(model, cfg.optimizer),
            "work_dir": cfg.work_dir,
            "logger": logger,
            "meta": {"exp_name": "toy", "config": cfg.pretty_text},
        },
    )
    runner.register_training_hooks(
        cfg.lr_config,
        cfg.optimizer_config,
        cfg.checkpoint_config,
        cfg.log_config,
        cfg.get("momentum_config"),
        cfg.get("custom_hooks"),
    )
    runner.timestamp = timestamp
    if validate:
        held_out = ToyData(8)
        loads = partial(DataLoader, held_out, sampler=DistributedSampler(held_out, shuffle=False))
        eval_cfg = {**cfg.evaluation, "by_epoch": cfg.runner["type"] != "IterBasedRunner"}
        runner.register_hook(DistEvalHook(loads(batch_size=1), **eval_cfg), priority="LOW")
    if cfg.resume_from:
        runner.resume(cfg.resume_from, map_location="cpu")
    elif cfg.load_from:
        runner.load_checkpoint(cfg.load_from)
    runner.run([loader], cfg.workflow)


if __name__ == "__main__":
    main()
