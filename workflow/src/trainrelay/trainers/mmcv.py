"""Trainer kind `mmcv`: mmcv 1.x runners started by `tools/train.py`, as UniAD v1 and v2.0 are.

Facts about the command line, the log and the files are those of mmcv 1.x and of UniAD's own train.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from trainrelay.records import Unit
from trainrelay.trainers.base import Launch, LaunchRequest, TrainerConfig
from trainrelay.trainers.openmmlab import OpenMMLab, load_from, own_options
from trainrelay.trainers.torchrun import environment, launcher

_STRETCHED = ("CosineAnnealing", "FlatCosineAnnealing", "LinearAnnealing", "OneCycle", "Poly", "poly")
_MOST = {"epochs": ("runner.max_epochs", "total_epochs"), "iters": ("runner.max_iters", "total_iters")}
_RESERVED = {
    "resume_from": "leave it out: trainrelay resumes by itself",
    **{key: f"set the stage's {unit}" for unit, keys in _MOST.items() for key in keys},
    "dist_params.backend": "set the stage's backends",
}


class Mmcv(OpenMMLab):
    """How an mmcv 1.x trainer is started, what it prints, which files it leaves."""

    kind = "mmcv"
    imports = ("torch", kind)
    compiled = ("mmcv._ext",)
    # `load_from` is judged by the checkpoint's content, and the epochs by the stage's own `epochs`.
    not_weights = re.compile(
        r"(^|: )(log_config|log_level|checkpoint_config|evaluation|work_dir|dist_params|load_from|resume_from"
        r"|total_(epochs|iters)|runner\.max_(epochs|iters)|data\.workers_per_gpu|data\.persistent_workers)(\.|#|$)"
    )
    reserved = _RESERVED
    checkpoint_hook = "checkpoint_config"
    step_lines: Mapping[Unit, re.Pattern[str]] = {
        "epoch": re.compile(r"Epoch \[(\d{1,9})\]\[(\d{1,9})/(\d{1,9})\]\t"),
        "iteration": re.compile(r"Iter \[(\d{1,9})/(\d{1,9})\]\t"),
    }
    loop = ("runner", "Runner")
    own = frozenset({"runner", "total_epochs", "total_iters"})
    # mmdet 2 has another train_cfg.
    others = ("train_cfg.max_epochs", "train_cfg.max_iters", "optim_wrapper", "read_base")
    other = ("is a config of mmengine", "mmengine")

    def schedule_over_all_epochs(self, config: TrainerConfig) -> str | None:
        """mmcv's policies that are computed from max_epochs."""
        policy = config.literals.get("lr_config.policy")
        return policy if policy in _STRETCHED else None

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        """argv and environment of one start."""
        argv = [*launcher(request), request.entry, request.config, "--launcher", "pytorch"]
        argv += ["--deterministic"] if request.deterministic else []
        argv += [] if request.validate else ["--no-validate"]
        argv += ["--seed", str(request.seed)] if request.seed is not None else []
        argv += ["--work-dir", request.work_dir]
        argv += ["--resume-from", request.resume_from] if request.resume_from else []
        argv += ["--cfg-options", *_options(request)]
        return Launch(tuple(argv), environment(request, inherited), request.root)

    def incompatible(self, versions: Mapping[str, str]) -> list[str]:
        """mmcv 2 has no runner; before 1.4.8 mmcv calls what torch's DDP has no more since 1.11."""
        own, torch = _release(versions.get(self.kind, "")), _release(versions.get("torch", ""))
        if own >= (2,):
            return [f"mmcv {versions[self.kind]} has no mmcv.runner; mmcv-full 1.4.8 to 1.7.2 has"]
        if own and own < (1, 4, 8) and torch >= (1, 11):
            both = (
                f"mmcv {versions[self.kind]} cannot run DistributedDataParallel of torch {versions['torch']}"
            )
            return [f"{both}; mmcv-full 1.4.8 or later can, or torch before 1.11"]
        return []


def _options(request: LaunchRequest) -> Iterator[str]:
    yield from own_options(request)
    yield f"dist_params.backend={request.rung.backend}"
    if not request.trainer_config.problem:
        yield from _length(request)
    if (path := load_from(request)) is not None:
        yield f"load_from={path}"


def _length(request: LaunchRequest) -> Iterator[str]:
    """How long to train, where the config says something else."""
    config = request.trainer_config
    most, total = _MOST["epochs" if request.iters is None else "iters"]
    asked = request.epochs if request.iters is None else request.iters
    said = config.literals.get(most, config.literals.get(total))
    if said == asked and isinstance(said, int):
        return
    keys = (most, total) if request.iters is None else (most,)
    if total in config.values and "runner" not in config.values:
        keys = (total,)  # a runner of this number alone would have no type
    yield from (f"{key}={asked}" for key in keys)


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (1, 7, 2) of 1.7.2+cpu; empty if there are none."""
    found = re.match(r"\d{1,9}(\.\d{1,9})*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
