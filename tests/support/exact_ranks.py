"""Ranks of a small mmcv training with all that makes it hard to continue exactly; killed where asked.

    exact_ranks.py    one JSON line in: {"attempt": FOLDER, "work_dir": FOLDER, "port": 1, "case": {..}}; one
                      line out, once all ranks have ended: their exit statuses

Each line's ranks are forked here, so that torch is imported once. A rank that dies takes the others with it,
as torch's launcher does. `case` overrides CASE. Rank 0 writes rows.jsonl; each that ends normally end-R.json,
draws-R.json (how many ways of one sample it saw) and seconds-R.json.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

import mmcv  # noqa: F401 - not its runner, which the hook waits for
import mmengine.visualization  # noqa: F401 - nor this one's
import numpy as np
import torch
import torch._dynamo  # the first step of an optimizer imports it
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler

CASE = {
    **{"world": 2, "epochs": 3, "iterations": 13, "batch": 2, "seed": 7, "workers": 2, "persistent": False},
    **{"sampler": "DistributedGroupSampler", "accumulate": 2, "ema": True, "scaled": True, "evaluate": True},
    **{"unused": False, "policy": "CosineAnnealing", "runner": "EpochBasedRunner"},
    # Who dies, from which step on: {"rank": 0, "step": 5, "place": "iteration"}. Or "evaluation": in the next
    # one; "saving": in the next step checkpoint; "requested": once it has saved one on request.
    "die": None,
    "limit_bytes": None,  # of a file, from step 6 to step 12
    "timed": False,
    "paced": False,  # each iteration waits for what is being written
    "hooked": True,
    "several": False,  # an optimizer each for body and heads, in the model's own train_step; of mmengine
    "beside": False,  # a hook looks at a batch in the fifth iteration of an attempt
    "called": "loss",  # what the model calls its loss
    "ballast": 0,  # further parameters in 100 tensors, which change nothing
}


DRAWS: dict[int, set[str]] = {}  # how this rank saw each sample
# When each iteration began, how long our callbacks took in each, and CPU seconds of the thread for each save.
SECONDS: dict[str, list[float]] = {"iterations": [], "callbacks": [], "writes": []}


class Samples(Dataset):  # type: ignore[type-arg]
    """Each draws from all three generators."""

    def __init__(self, length: int, augmented: bool) -> None:
        self.length, self.augmented, self.scale = length, augmented, 1.0
        self.flag = np.array([index % 3 == 0 for index in range(length)], dtype=np.uint8)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.sin(torch.arange(6.0) * (index + 1)) * self.scale
        if self.augmented:
            x = x * random.uniform(0.5, 1.5) + float(np.random.normal(0, 0.1)) + 0.1 * torch.randn(6)
        return x, torch.tensor(float(index))

    def evaluate(self, results: list[float], logger: Any = None) -> dict[str, float]:
        return {"score": float(np.mean(results))}


class GroupSampler(Sampler):  # type: ignore[type-arg]
    """As mmdet's: a batch is of one group, drawn from NumPy's global generator; one rank."""

    def __init__(self, data: Samples, batch: int) -> None:
        self.data, self.batch, self.epoch = data, batch, 0

    def __len__(self) -> int:
        return len(self._indices(np.random.RandomState(0)))

    def __iter__(self) -> Any:
        return iter(self._indices(np.random))

    def _indices(self, generator: Any) -> list[int]:
        groups = []
        for group in (0, 1):
            members = np.where(self.data.flag == group)[0]
            generator.shuffle(members)
            missing = -len(members) % self.batch
            groups.extend(np.concatenate([members, members[:missing]]).reshape(-1, self.batch).tolist())
        order = generator.permutation(len(groups))
        return [index for one in order for index in groups[one]]


class DistributedGroupSampler(GroupSampler):
    """As mmdet's: drawn from a generator of the epoch, each rank its own batches."""

    def __init__(self, data: Samples, batch: int, world: int, rank: int) -> None:
        super().__init__(data, batch)
        self.world, self.rank = world, rank

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def _indices(self, generator: Any) -> list[int]:
        every = np.array(super()._indices(np.random.RandomState(self.epoch))).reshape(-1, self.batch)
        return [int(one) for one in every[self.rank :: self.world][: len(every) // self.world].reshape(-1)]


class OwnSampler(RandomSampler):
    """One that the hook does not know."""


class Model(nn.Module):
    def __init__(self, unused: bool, overflows: bool, ballast: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        self.heads = nn.ModuleList(nn.Linear(16, 1) for _ in range(3))
        self.unused, self.overflows = unused, overflows
        self.called = "loss"
        self.passes = 0  # in no checkpoint of the trainer's, as mmdet's DropBlock counts
        tensors = [torch.zeros(ballast // 100) for _ in range(100 if ballast else 0)]
        self.ballast = nn.ParameterList(map(nn.Parameter, tensors))

    def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        features = self.body(x)
        heads = [self.heads[int(index[0]) % 3]] if self.unused else self.heads
        loss = sum(((head(features).squeeze(1) - torch.cos(index)) ** 2).mean() for head in heads)
        for one in self.ballast:
            loss = loss + 0 * one.sum()
        return loss * float("inf") if self.overflows and bool((index == 11.0).any()) else loss

    def train_step(self, batch: Any, optimizer: Any, **_: Any) -> dict[str, Any]:
        for x, index in zip(*batch, strict=True):
            DRAWS.setdefault(int(index), set()).add(digest(x))
        self.passes += 1
        loss = self(*batch) * min(1.0, self.passes / 40)
        return {self.called: loss, "log_vars": {"loss": loss.item()}, "num_samples": len(batch[0])}


def train(folder: Path, work_dir: Path, case: dict[str, Any]) -> None:
    """One rank's training, from the newest checkpoint of the work dir."""
    from mmcv import runner as runners  # noqa: PLC0415
    from mmcv.parallel import MMDistributedDataParallel  # noqa: PLC0415
    from mmcv.runner.hooks import (  # noqa: PLC0415
        DistEvalHook,
        DistSamplerSeedHook,
        EMAHook,
        Hook,
        LoggerHook,
    )
    from mmcv.runner.hooks.optimizer import (  # noqa: PLC0415
        GradientCumulativeFp16OptimizerHook,
        GradientCumulativeOptimizerHook,
    )

    for module in (runners.epoch_based_runner, runners.iter_based_runner):
        module.time = types.SimpleNamespace(sleep=lambda _: None)  # 2 s per pass
    by_epoch = case["runner"] == "EpochBasedRunner"
    rank, world, seed = int(os.environ["RANK"]), case["world"], case["seed"]
    torch.set_num_threads(1)
    random.seed(seed + rank)
    np.random.seed(seed + rank)
    torch.manual_seed(seed)
    dist.init_process_group("gloo")
    model: Any = Model(case["unused"], overflows=case["scaled"], ballast=case["ballast"])
    model.called = case["called"]
    torch.manual_seed(seed + rank)
    ddp = type("Ddp", (MMDistributedDataParallel,), {"_use_replicated_tensor_module": False})
    if world > 1:
        model = ddp(model, find_unused_parameters=case["unused"], broadcast_buffers=False)

    data = Samples(world * case["iterations"] * case["batch"], augmented=True)
    sampler = {
        "DistributedGroupSampler": lambda: DistributedGroupSampler(data, case["batch"], world, rank),
        "GroupSampler": lambda: GroupSampler(data, case["batch"]),
        "RandomSampler": lambda: RandomSampler(data),
        "OwnSampler": lambda: OwnSampler(data),
    }[case["sampler"]]()
    loader = DataLoader(
        data,
        batch_size=case["batch"],
        sampler=sampler,
        num_workers=case["workers"],
        persistent_workers=case["persistent"] and case["workers"] > 0,
    )

    class Rows(LoggerHook):
        """All digits."""

        def log(self, runner: Any) -> None:
            values = {name: float(value).hex() for name, value in runner.log_buffer.output.items()}
            values = {name: value for name, value in values.items() if name not in ("time", "data_time")}
            mode, inner = self.get_mode(runner), self.get_iter(runner, inner_iter=True)
            place = [mode, self.get_epoch(runner), inner if mode == "train" else 0]
            place = place if by_epoch else [mode, 0, runner.iter]
            rates = [runner.current_lr(), runner.current_momentum()]
            if runner.rank == 0:
                with (folder / "rows.jsonl").open("a") as file:
                    file.write(json.dumps([place, values, rates]) + "\n")

    def evaluated(model: Any, loader: Any, **_: Any) -> list[float]:
        if rank == 0:
            with (folder / "rows.jsonl").open("a") as file:
                file.write(json.dumps([["evaluation", runner.epoch, runner.iter], {}, []]) + "\n")
        model.eval()
        with torch.no_grad():
            found = [model.module(*batch).item() for batch in loader]
        die_where_asked(runner, case["die"], "evaluation")
        model.train()
        return [one for one in found if np.isfinite(one)]

    class Renames(Hook):
        def after_train_iter(self, runner: Any) -> None:
            runner.outputs["loss"] = runner.outputs[case["called"]]

    class Dies(Hook):
        def before_train_epoch(self, runner: Any) -> None:
            if runner.epoch == 1:  # and not in a later one, as mmdet's YOLOXModeSwitchHook
                data.scale = 0.5

        def before_train_iter(self, runner: Any) -> None:
            SECONDS["iterations"].append(time.perf_counter())
            if case["paced"]:
                join_threads()

        def after_train_iter(self, runner: Any) -> None:
            limited(runner, case["limit_bytes"])
            if case["beside"] and runner.iter == 4:
                next(iter(loader))
            die_where_asked(runner, case["die"], "iteration")

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    logger = logging.getLogger(f"quiet-{rank}")
    most = {"max_epochs": case["epochs"]} if by_epoch else {"max_iters": case["epochs"] * case["iterations"]}
    kind = getattr(runners, case["runner"])
    runner = kind(model, optimizer=optimizer, work_dir=str(work_dir), logger=logger, meta={}, **most)
    stepping: Any = GradientCumulativeOptimizerHook
    if case["scaled"]:
        stepping = GradientCumulativeFp16OptimizerHook
    stepping = stepping(cumulative_iters=case["accumulate"], grad_clip={"max_norm": 35})
    if case["scaled"]:
        stepping.loss_scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3)
    runner.register_training_hooks(
        {"policy": case["policy"], "by_epoch": False, **POLICIES[case["policy"]]},
        stepping,
        {"interval": 1 if by_epoch else 10},
        None,
        {"policy": "cyclic", "by_epoch": False},
    )
    if by_epoch:
        runner.register_hook(DistSamplerSeedHook())
    if case["ema"]:
        runner.register_hook(EMAHook(momentum=0.01, warm_up=4), priority=49)
    if case["evaluate"]:
        validation = DataLoader(Samples(6, augmented=False), batch_size=3)
        best = {"save_best": "score", "rule": "less", "by_epoch": by_epoch, "test_fn": evaluated}
        runner.register_hook(
            DistEvalHook(validation, start=1, interval=1 if by_epoch else 7, **best), priority="LOW"
        )
    runner.register_hook(Rows(interval=5, by_epoch=by_epoch), priority="VERY_LOW")
    runner.register_hook(Dies(), priority="LOWEST")
    runner.register_hook(Renames(), priority="HIGHEST")
    saved = sorted(work_dir.glob("epoch_*.pth" if by_epoch else "iter_*.pth"))
    if saved:
        runner.resume(str(saved[-1]), map_location="cpu")
    runner.run([loader], [("train", 1)])
    meta = [runner.meta.get("fp16"), runner.meta.get("hook_msgs", {}).get("best_score")]
    state = {"model": runner.model.state_dict(), "optimizer": optimizer.state_dict(), "meta": meta}
    drawn = [random.random(), float(np.random.rand()), float(torch.rand(1))]
    end = {**{name: digest(value) for name, value in state.items()}, "drawn": drawn, "steps": runner.iter}
    (folder / f"end-{rank}.json").write_text(json.dumps(end))
    (folder / f"draws-{rank}.json").write_text(json.dumps(max(map(len, DRAWS.values()), default=0)))
    (folder / f"seconds-{rank}.json").write_text(json.dumps(SECONDS))
    dist.destroy_process_group()


POLICIES: dict[str, Any] = {
    "CosineAnnealing": {"min_lr": 1e-5, "warmup": "linear", "warmup_iters": 12, "warmup_ratio": 0.1},
    "cyclic": {},
}


def digest(tree: Any) -> str:
    """Of all bits of a tree of tensors."""
    found = hashlib.sha256()

    def add(one: Any) -> None:
        if isinstance(one, torch.Tensor):
            found.update(one.detach().contiguous().numpy().tobytes())
        elif isinstance(one, dict):
            for key in sorted(one, key=str):
                found.update(str(key).encode())
                add(one[key])
        elif isinstance(one, (list, tuple)):
            for value in one:
                add(value)
        else:
            found.update(repr(one).encode())

    add(tree)
    return found.hexdigest()


def limited(runner: Any, most_bytes: int | None) -> None:
    """No file may grow beyond, from step 6 to step 12."""
    if most_bytes and runner.iter + 1 in (6, 12):
        import resource  # noqa: PLC0415

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        most = most_bytes if runner.iter + 1 == 6 else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def die_where_asked(runner: Any, die: dict[str, Any] | None, where: str) -> None:
    """By SIGKILL."""
    done = runner.iter + (where == "iteration")
    if not die or done < die["step"]:
        return
    place, attempt = die["place"], Path(os.environ["TRAINRELAY_HOOK"]).parents[1]
    if place == "requested" and runner.rank == 0 and not (attempt / "hook/save-now").exists():
        (attempt / "hook/save-now").write_text('{"format": 1, "request": 1}')
    if runner.rank != die["rank"]:
        return
    if place == "saving":
        die_in_a_thread()
    elif place == where or (place == "requested" and answered(attempt)):
        os.kill(os.getpid(), signal.SIGKILL)


def answered(attempt: Path) -> bool:
    """Whether a step checkpoint is there that was asked for."""
    for one in attempt.glob("steps/*/manifest.json"):
        with suppress(FileNotFoundError):  # older ones are being removed
            if json.loads(one.read_text())["request"]:
                return True
    return False


def die_in_a_thread() -> None:
    """The next time that one renames a file."""
    replace, main_thread = os.replace, threading.main_thread()

    def deadly(source: Any, target: Any, **kwargs: Any) -> None:
        if threading.current_thread() is not main_thread and "/steps/" in str(target):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **kwargs)

    os.replace = deadly  # type: ignore[assignment]


def join_threads() -> None:
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()


def timed() -> None:
    """Our callbacks of an iteration, and what the thread does, which is joined where it is measured."""
    from trainrelay_hook import step_saving, training  # noqa: PLC0415

    def around(owner: Any, name: str, add: Any, clock: Any) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any) -> Any:
            began = clock()
            try:
                return original(*args)
            finally:
                add(clock() - began)

        setattr(owner, name, wrapped)

    def in_this_iteration(seconds: float) -> None:
        SECONDS["callbacks"][-1] += seconds

    begin = "before_hooks_of_before_train_iter"
    around(training.Training, begin, SECONDS["callbacks"].append, time.perf_counter)
    for name in ("before_hooks_of_after_train_iter", "after_hooks_of_after_train_iter"):
        around(training.Training, name, in_this_iteration, time.perf_counter)
    around(step_saving.StepSaving, "_write", SECONDS["writes"].append, time.thread_time)


def be_rank(rank: int, port: int, line: dict[str, Any], case: dict[str, Any]) -> None:
    """In a forked process."""
    attempt = Path(line["attempt"])
    output = os.open(attempt / f"output-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(case["world"]), "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port), "TRAINRELAY_HOOK": str(attempt / "hook/settings.json")}
    status = 1
    try:
        if case["hooked"]:
            import trainrelay_hook  # noqa: PLC0415
            from trainrelay_hook import step_saving  # noqa: PLC0415

            if not case["timed"]:
                step_saving.LOOK_S, step_saving.HOLD_S = 0.0, 0.05
            trainrelay_hook.start()
            if case["timed"]:
                timed()
        if case["runner"].endswith("Loop"):
            from support import exact_mmengine  # noqa: PLC0415

            exact_mmengine.train(attempt, Path(line["work_dir"]), case)
        else:
            train(attempt, Path(line["work_dir"]), case)
        join_threads()  # as Python does at its end
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(pids: list[int]) -> list[int]:
    """Their exit statuses; where one dies, the others are killed, or notice it first."""
    found: dict[int, int] = {}
    while len(found) < len(pids):
        pid, status = os.wait()
        if pid not in pids:
            continue
        found[pid] = os.waitstatus_to_exitcode(status)
        if found[pid] != 0:
            for other in set(pids) - set(found):
                os.kill(other, signal.SIGKILL)
    statuses = [found[pid] for pid in pids]
    return [-signal.SIGKILL] * len(pids) if -signal.SIGKILL in statuses else statuses


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.modules["support.exact_ranks"] = sys.modules[__name__]
    try:
        import torchvision  # noqa: F401, PLC0415
    except Exception:  # noqa: BLE001 - whatever a torchvision without CUDA raises
        sys.modules["torchvision"] = types.ModuleType("torchvision")
        sys.modules["torchvision"].__version__ = "0.0"  # type: ignore[attr-defined]
    for text in sys.stdin:
        line = json.loads(text)
        case, pids = {**CASE, **line["case"]}, []
        for rank in range(case["world"]):
            pid = os.fork()
            if pid == 0:
                be_rank(rank, line["port"], line, case)
            pids.append(pid)
        print(json.dumps(ended(pids)), flush=True)


if __name__ == "__main__":
    main()
