"""Runs inside the ranks: an mmcv hook that carries out plan.json, which is beside this file.

A fault of the plan is due at an epoch and an iteration (both from 1), on one rank or on all (`rank` null),
and once, unless it says `"once": false`. Before it happens it is stamped. `paced` is for all of a rank's
iterations: each begins when the step checkpoint before it is written.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import injected_damage
import injected_limits
import injected_waits
import torch
import torch.distributed as dist
from injected_stamps import RANK, begin, checkpoints, stamp
from mmcv.runner import HOOKS, BaseModule, EpochBasedRunner, Hook

HERE = Path(__file__).resolve().parent


def sigkill(runner: Any) -> None:
    """As the kernel's out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def sigkill_before_manifest(runner: Any) -> None:
    """The files of the next step checkpoint are there, and then not the manifest that makes it one."""
    replace = os.replace

    def deadly(source: Any, target: Any) -> None:
        if str(target).endswith("manifest.json"):
            sigkill(runner)
        replace(source, target)

    os.replace = deadly  # type: ignore[assignment]


def sigkill_launcher(runner: Any) -> None:
    """torch's launcher dies without a message; its ranks, in their own sessions, train on."""
    os.kill(os.getppid(), signal.SIGKILL)


def sigstop(runner: Any) -> None:
    """As a debugger or a job control does."""
    os.kill(os.getpid(), signal.SIGSTOP)


def error(runner: Any) -> None:
    """An exception of the trainer itself."""
    raise ValueError("injected: expected 9 query embeddings, got 7")


def leave(runner: Any) -> None:
    """The process ends as if all were done."""
    os._exit(0)


def collective(runner: Any) -> None:
    """This rank alone enters a collective, for which the others never come."""
    dist.barrier(group=InjectedFaults.group)


def disconnect(runner: Any) -> None:
    """Every connection of this rank is cut, as by a network that goes away."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and not _listens(connection):
                connection.shutdown(socket.SHUT_RDWR)


def _listens(server: socket.socket) -> bool:
    # No network cuts these off, and gloo aborts if something does.
    return bool(server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def disconnect_for_good(runner: Any) -> None:
    """The same, and what sitecustomize.py breaks stays broken."""
    (HERE / "network-is-broken").touch()
    disconnect(runner)


def error_after_disconnect(runner: Any) -> None:
    """An exception of this rank, while the other loses its connection before this process is gone."""
    atexit.register(time.sleep, 10)
    disconnect(runner)
    error(runner)


def nan(runner: Any) -> None:
    """From here on the loss is not finite."""
    with torch.no_grad():
        next(runner.model.parameters()).fill_(float("nan"))


def gpu_fails(runner: Any) -> None:
    """What torch raises after an uncorrectable ECC error, on the first of the rig's nodes alone."""
    if os.environ["SLURMD_NODENAME"].endswith("1"):
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")


KINDS = {
    "gpu-fails": gpu_fails,
    "sigkill": sigkill,
    "sigkill-before-manifest": sigkill_before_manifest,
    "sigkill-launcher": sigkill_launcher,
    "sigstop": sigstop,
    "error": error,
    "leave": leave,
    "collective": collective,
    "disconnect": disconnect,
    "disconnect-for-good": disconnect_for_good,
    "error-after-disconnect": error_after_disconnect,
    "nan": nan,
    **injected_damage.KINDS,
    **injected_limits.KINDS,
    **injected_waits.KINDS,
}


def _ignores_resume(self: Any, checkpoint: str, **_: Any) -> None:
    stamp("fired", kind="ignores-resume", checkpoints=checkpoints(self.work_dir))


def _mask_the_model() -> None:
    """The model registers a causal mask, as models with attention do; it is in every checkpoint."""
    made = BaseModule.__init__

    def masked(self: Any, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        if type(self).__name__ == "DrivingModel":
            self.register_buffer("attention_mask", torch.full((41, 41), float("-inf")).triu(1))

    BaseModule.__init__ = masked


def _hangs_in(dataset: Any, due: Any) -> None:
    """The data worker that loads the sample never returns; what is forked from now on inherits this."""
    cls = type(dataset)
    load, loaded = cls.__getitem__, iter(range(10**9))

    def hanging(self: Any, index: int) -> Any:
        if next(loaded) >= due.sample and due.take():
            stamp("fired", kind="data-worker", checkpoints=checkpoints(due.work_dir))
            time.sleep(100_000)
        return load(self, index)

    cls.__getitem__ = hanging


# ---------------------------------------------------------------------- the hook


class Due:
    """One fault of the plan."""

    def __init__(self, number: int, words: dict[str, Any]) -> None:
        self.number, self.kind = number, words["kind"]
        self.epoch, self.iteration = words.get("epoch", 1), words.get("iteration", 1)
        self.once = words.get("once", True)
        self.here = words.get("rank") in (None, RANK)
        self.sample, self.work_dir = 0, ""

    def take(self) -> bool:
        """Whether it is to happen now; only the first call may say so where it happens once."""
        if not self.once:
            return True
        try:
            (HERE / f"fired-{self.number}-rank-{RANK}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def plan() -> list[Due]:
    """The faults of plan.json for this rank."""
    due = [Due(number, words) for number, words in enumerate(json.loads((HERE / "plan.json").read_text()))]
    return [one for one in due if one.here]


@HOOKS.register_module()
class InjectedFaults(Hook):
    """Carries out the plan."""

    group: Any = None

    def __init__(self) -> None:
        self._due = plan()

    def before_run(self, runner: Any) -> None:
        # All ranks must make it, also those on which nothing is due.
        InjectedFaults.group = dist.new_group()

    def before_train_epoch(self, runner: Any) -> None:
        if RANK == 0:
            stamp("epoch", epoch=runner.epoch + 1, checkpoints=checkpoints(runner.work_dir))
        for due in self._due:
            if due.kind == "data-worker" and due.epoch == runner.epoch + 1:
                loader = runner.data_loader
                due.sample, due.work_dir = (due.iteration - 1) * loader.batch_size, runner.work_dir
                _hangs_in(loader.dataset, due)

    def before_train_iter(self, runner: Any) -> None:
        if any(due.kind == "paced" for due in self._due):
            injected_waits.wait_for_writers()
        now = (runner.epoch + 1, runner.inner_iter + 1)
        for due in self._due:
            if due.kind in KINDS and (due.epoch, due.iteration) == now and due.take():
                stamp("fired", kind=due.kind, checkpoints=checkpoints(runner.work_dir))
                KINDS[due.kind](runner)

    def after_train_iter(self, runner: Any) -> None:
        if RANK == 0:
            stamp("iteration", epoch=runner.epoch + 1, iteration=runner.inner_iter + 1)


begin()
if any(due.kind == "ignores-resume" for due in plan()):
    EpochBasedRunner.resume = _ignores_resume
if any(due.kind == "mask" for due in plan()):
    _mask_the_model()
