"""Train a config on the CPU, with UniAD's own command line. From the checkout's root:

    python -u -m torch.distributed.run --nproc_per_node=2 --master_port=28599 ./tools/train.py \
        ./projects/configs/stage1_track_map/track_map.py --launcher pytorch --deterministic \
        --cfg-options dist_params.backend=gloo
"""

import argparse
import importlib
import os
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

warnings.filterwarnings("ignore")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout: the plugin is there

from driving.detector import DETECTORS  # noqa: E402
from driving.scenes import DATASETS  # noqa: E402
from driving.train import train_model  # noqa: E402
from mmcv import Config, DictAction  # noqa: E402
from mmcv.runner import get_dist_info, set_random_seed  # noqa: E402
from mmcv.utils import collect_env, get_logger, import_modules_from_strings  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a driving model")
    parser.add_argument("config")
    parser.add_argument("--work-dir", help="where logs and checkpoints go")
    parser.add_argument("--resume-from", help="a checkpoint to resume from; ignored if there is no such file")
    parser.add_argument("--no-validate", action="store_true", help="no evaluation during training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={}, help="key=value ...")
    parser.add_argument("--launcher", choices=["none", "pytorch"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by the launcher")
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def load_config(args: argparse.Namespace) -> Config:
    """The config file, then the command line over it; importing its plugin fills the registries."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    if cfg.get("custom_imports"):
        import_modules_from_strings(**cfg.custom_imports)
    if cfg.get("plugin"):
        importlib.import_module(cfg.plugin_dir.strip("/").replace("/", "."))
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or f"work_dirs/{Path(args.config).stem}"
    if args.resume_from and Path(args.resume_from).is_file():
        cfg.resume_from = args.resume_from
    cfg.seed = args.seed
    return cfg


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)  # one core per rank
    cfg = load_config(args)
    distributed = args.launcher != "none"
    if distributed:  # not mmcv's init_dist, which divides by the number of GPUs
        dist.init_process_group(**cfg.dist_params)
    rank, world_size = get_dist_info()
    cfg.gpu_ids = range(world_size)

    work_dir = Path(cfg.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    if rank == 0:
        cfg.dump(str(work_dir / Path(args.config).name))
    timestamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    logger = get_logger("mmdet", str(work_dir / f"{timestamp}.log"), cfg.log_level)
    env_info = "\n".join(f"{key}: {value}" for key, value in collect_env().items())
    line = "-" * 60
    logger.info(f"Environment info:\n{line}\n{env_info}\n{line}\n")
    logger.info(f"Distributed training: {distributed}")
    logger.info(f"Config:\n{cfg.pretty_text}")
    logger.info(f"Set random seed to {args.seed}, deterministic: {args.deterministic}")
    set_random_seed(args.seed, deterministic=args.deterministic)

    model = DETECTORS.build(cfg.model)
    logger.info(f"Model:\n{model}")
    meta = {
        "env_info": env_info,
        "config": cfg.pretty_text,
        "seed": args.seed,
        "exp_name": Path(args.config).name,
    }
    classes = DATASETS.get(cfg.data.train.type).CLASSES
    cfg.checkpoint_config.meta = {"config": cfg.pretty_text, "CLASSES": classes}
    train_model(model, cfg, distributed, not args.no_validate, timestamp, meta)


if __name__ == "__main__":
    main()
