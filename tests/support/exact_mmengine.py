"""One rank's training by mmengine's Runner, in epochs or in iterations; see exact_ranks, which forks it."""

from __future__ import annotations

import itertools
import json
import os
import random
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EMAHook, Hook, IterTimerHook
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.registry import DATASETS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from mmengine.runner import Runner, loops

from support.exact_ranks import DRAWS, Model, Samples, die_where_asked, digest, join_threads, limited

RATE = {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 12}


@MODELS.register_module()
class Exact(BaseModel):
    def __init__(self, unused: bool, overflows: bool) -> None:
        super().__init__()
        self.net = Model(unused, overflows, 0)

    def forward(self, x: torch.Tensor, index: torch.Tensor, mode: str = "tensor") -> Any:
        if mode == "predict":
            return [self.net(x, index).item()]
        for one, number in zip(x, index, strict=True):
            DRAWS.setdefault(int(number), set()).add(digest(one))
        net = getattr(self.net, "module", self.net)
        net.passes += 1
        return {"loss": self.net(x, index) * min(1.0, net.passes / 40)}

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        if not isinstance(optim_wrapper, OptimWrapperDict):
            return dict(super().train_step(data, optim_wrapper))
        loss, values = self.parse_losses(self(*self.data_preprocessor(data, True), mode="loss"))
        optim_wrapper["body"].zero_grad()
        optim_wrapper["heads"].zero_grad()
        optim_wrapper["body"].backward(loss)
        optim_wrapper["body"].step()
        optim_wrapper["heads"].step()
        return values


DATASETS.register_module(module=Samples)


@OPTIM_WRAPPERS.register_module()
class Scaled(AmpOptimWrapper):
    """Without the GPU that it asks for."""

    def __init__(self, **settings: Any) -> None:
        OptimWrapper.__init__(self, **settings)
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3)
        self._scale_update_param = None

    optim_context = OptimWrapper.optim_context


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class Several:
    def __init__(self, **_: Any) -> None: ...

    def __call__(self, model: Any) -> OptimWrapperDict:
        net = model.module.net.module
        parts = {"body": net.body, "heads": net.heads}
        optimizers = {name: torch.optim.AdamW(one.parameters(), lr=1e-2) for name, one in parts.items()}
        return OptimWrapperDict(**{name: OptimWrapper(one) for name, one in optimizers.items()})


@METRICS.register_module()
class Score(BaseMetric):
    def process(self, _: Any, data_samples: Any) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {"score": float(np.mean(results))}


def train(folder: Path, work_dir: Path, case: dict[str, Any]) -> None:
    """From the newest checkpoint of the work dir."""
    os.environ["LOCAL_RANK"] = os.environ["RANK"]  # which it reads, though no GPU is used
    loops.time = types.SimpleNamespace(sleep=lambda _: None)  # type: ignore[attr-defined]  # 2 s per pass
    rank, world, seed = int(os.environ["RANK"]), case["world"], case["seed"]
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    by_epoch, length = case["runner"] == "EpochBasedTrainLoop", case["iterations"]

    class Rows(Hook):
        """All digits."""

        priority = "VERY_LOW"

        def before_train_epoch(self, runner: Any) -> None:
            if runner.epoch == 1 and not case["persistent"]:  # workers that outlive an epoch see no change
                runner.train_dataloader.dataset.scale = 0.5

        def before_train_iter(self, runner: Any, **_: Any) -> None:
            if case["paced"]:
                join_threads()

        def after_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
            if self.every_n_inner_iters(batch_idx, 5):
                said, _ = runner.log_processor.get_log_after_iter(runner, batch_idx, "train")
                self._write(runner, ["train", runner.epoch, batch_idx, runner.iter], said)
            limited(runner, case["limit_bytes"])

        def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
            self._write(runner, ["val", runner.epoch, 0, runner.iter], metrics)
            die_where_asked(runner, case["die"], "evaluation")

        def _write(self, runner: Any, place: list[Any], values: dict[str, Any]) -> None:
            exact = {name: float(value).hex() for name, value in values.items() if "time" not in name}
            if runner.rank == 0:
                with (folder / "rows.jsonl").open("a") as file:
                    file.write(json.dumps([place, exact, runner.optim_wrapper.get_momentum()]) + "\n")

    class Dies(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner: Any, **_: Any) -> None:
            die_where_asked(runner, case["die"], "iteration")

    data = {"length": world * length * case["batch"], "augmented": True}
    shared = {"batch_size": case["batch"], "collate_fn": {"type": "default_collate"}}
    saved = sorted(work_dir.glob("*_[0-9]*.pth"), key=lambda one: int(one.stem.split("_")[-1]))
    most = {"max_epochs": case["epochs"]} if by_epoch else {"max_iters": case["epochs"] * length}
    custom: list[Any] = [Rows(), Dies()]
    custom += [EMAHook(momentum=0.01, update_buffers=True)] if case["ema"] else []
    runner = Runner(
        model={"type": "Exact", "unused": case["unused"], "overflows": case["scaled"]},
        work_dir=str(work_dir),
        train_dataloader={
            **{"dataset": {"type": "Samples", **data}, "sampler": {"type": case["sampler"]}, **shared},
            **{"num_workers": case["workers"], "persistent_workers": case["persistent"]},
        },
        train_cfg={"type": case["runner"], **most, "val_interval": 1 if by_epoch else 7},
        val_dataloader={
            **{"dataset": {"type": "Samples", "length": 6, "augmented": False}, **shared},
            "sampler": {"type": "DefaultSampler", "shuffle": False},
        },
        val_cfg={},
        val_evaluator={"type": "Score"},
        optim_wrapper={"constructor": "Several"}
        if case["several"]
        else {
            **{"type": "Scaled" if case["scaled"] else "OptimWrapper", "clip_grad": {"max_norm": 35}},
            **{"optimizer": {"type": "AdamW", "lr": 1e-2}, "accumulative_counts": case["accumulate"]},
        },
        param_scheduler=[
            RATE,
            {"type": "CosineAnnealingLR", "T_max": case["epochs"] * length, "by_epoch": False},
            {"type": "StepLR", "step_size": 1, "gamma": 0.5, "by_epoch": True},
            {"type": "LinearMomentum", "start_factor": 0.5, "end": 30, "by_epoch": False},
        ],
        default_hooks={
            "timer": IterTimerHook(),
            "checkpoint": CheckpointHook(
                interval=1 if by_epoch else 10, by_epoch=by_epoch, save_best="score", rule="less"
            ),
            "logger": None,
        },
        custom_hooks=custom,
        log_processor={
            "window_size": 8,
            "by_epoch": by_epoch,
            "custom_cfg": [
                {"data_src": "loss", "log_name": "all", "method_name": "mean", "window_size": "global"}
            ],
        },
        randomness={"seed": seed, "diff_rank_seed": True},
        env_cfg={"dist_cfg": {"backend": "gloo"}, "mp_cfg": {"mp_start_method": "fork"}},
        launcher="pytorch",
        cfg={
            "model_wrapper_cfg": {
                "type": "MMSeparateDistributedDataParallel"
                if case["several"]
                else "MMDistributedDataParallel",
                "device_ids": None,
                **{"find_unused_parameters": case["unused"], "broadcast_buffers": False},
            }
        },
        log_level="ERROR",
        default_scope=None,
        resume=bool(saved),
        load_from=str(saved[-1]) if saved else None,
        experiment_name=f"exact-{os.getpid()}",
    )
    runner.train()
    ema = [one.ema_model.state_dict() for one in runner.hooks if isinstance(one, EMAHook)]
    best = runner.message_hub.get_info("best_score")
    state = {"model": runner.model.state_dict(), "optimizer": runner.optim_wrapper.state_dict()}
    every = runner.param_schedulers
    schedulers = [*itertools.chain(*every.values())] if isinstance(every, dict) else every
    state |= {"ema": ema, "schedulers": [one.state_dict() for one in schedulers], "best": best}
    drawn = [random.random(), float(np.random.rand()), float(torch.rand(1))]
    end = {**{name: digest(value) for name, value in state.items()}, "drawn": drawn, "steps": runner.iter}
    (folder / f"end-{rank}.json").write_text(json.dumps(end))
    (folder / f"draws-{rank}.json").write_text(json.dumps(max(map(len, DRAWS.values()), default=0)))
    dist.destroy_process_group()
