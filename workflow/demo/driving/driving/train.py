"""From a config to a running mmcv runner: loaders, DDP, optimizer, hooks, resume or load."""

from pathlib import Path

from mmcv import Config
from mmcv.parallel import MMDataParallel, MMDistributedDataParallel
from mmcv.runner import HOOKS, DistSamplerSeedHook, OptimizerHook, build_optimizer, build_runner
from mmcv.utils import build_from_cfg, get_logger
from torch import nn

from .evaluation import EvalScenesHook
from .loader import build_dataloader
from .scenes import DATASETS


def train_model(
    model: nn.Module, cfg: Config, distributed: bool, validate: bool, timestamp: str, meta: dict
) -> None:
    """Train to the last epoch, from `resume_from` if that file exists, else from `load_from`, else afresh."""
    data = cfg.data
    loaders = {
        "samples_per_gpu": data.samples_per_gpu,
        "workers_per_gpu": data.workers_per_gpu,
        "sampler": data.shuffler_sampler,
        "seed": cfg.seed,
    }
    loader = build_dataloader(DATASETS.build(data.train), **loaders)

    if distributed:
        model = MMDistributedDataParallel(
            model, broadcast_buffers=False, find_unused_parameters=cfg.get("find_unused_parameters", False)
        )
    else:
        model = MMDataParallel(model, device_ids=[-1])  # -1: the CPU

    runner = build_runner(
        cfg.runner,
        default_args={
            "model": model,
            "optimizer": build_optimizer(model, cfg.optimizer),
            "work_dir": cfg.work_dir,
            "logger": get_logger("mmdet"),
            "meta": meta,
        },
    )
    runner.timestamp = timestamp  # the text log and the JSON log share a name
    runner.register_training_hooks(
        cfg.lr_config, OptimizerHook(**cfg.optimizer_config), cfg.checkpoint_config, cfg.log_config
    )
    if distributed:
        runner.register_hook(DistSamplerSeedHook())
    if validate:
        held_out = build_dataloader(DATASETS.build(data.val), **loaders)
        runner.register_hook(EvalScenesHook(held_out, **cfg.evaluation), priority="LOW")
    for hook_cfg in cfg.get("custom_hooks", None) or []:
        hook = dict(hook_cfg)
        priority = hook.pop("priority", "NORMAL")
        runner.register_hook(build_from_cfg(hook, HOOKS), priority=priority)

    if cfg.resume_from and Path(cfg.resume_from).exists():
        runner.resume(cfg.resume_from)
    elif cfg.load_from:
        runner.load_checkpoint(cfg.load_from)
    runner.run([loader], cfg.workflow)
