"""A trainer of mmengine: a rank that dies, a resume that is ignored, a checkpoint that is cut short."""

from __future__ import annotations

import shutil
from pathlib import Path

from faults.bench import EPOCHS, ITERATIONS, Bench
from faults.fault import Measurement, fault
from faults.rows.steps import AT_EACH_STEP, continued

CHECKOUT = Path(__file__).parents[2] / "support/mmengine_checkout"
CONFIG = """_base_ = "{base}.py"
custom_imports = dict(imports=["toy", "injected_mmengine"], allow_failed_imports=False)
custom_hooks = [dict(type="InjectedFaults")]
"""


def _mmengine(bench: Bench, iters: int | None = None, steps_min: float = 0) -> None:
    """The bench plays with mmengine's own Runner instead, by epochs or by iterations."""
    checkout = bench.folder / "mmengine"
    shutil.copytree(CHECKOUT, checkout)
    base = "first" if iters is None else "by_iteration"
    (checkout / "configs/injected.py").write_text(CONFIG.format(base=base))
    trainer = {"kind": "mmengine", "root": str(checkout), "device": "cpu", "nproc_per_node": 2}
    env = {"PYTHONPATH": str(bench.plan.parent), "OMP_NUM_THREADS": "1"}
    # As the bench has it: what becomes of the trainer's own checkpoints.
    length = {"epochs": EPOCHS} if iters is None else {"iters": iters}
    hook = "default_hooks.checkpoint"
    often = {f"{hook}.interval": ITERATIONS, f"{hook}.max_keep_ckpts": EPOCHS}
    options = {} if iters is None else often
    stage = {"config": "configs/injected.py", **length, "options": options, "backends": ["gloo"]}
    stage["checkpoint_interval_min"] = steps_min
    runs = {"mmengine": {"trainer": {**trainer, "env": env}, "stages": {"first": stage}}}
    bench.project.configure(lambda data: data.update(runs=runs))
    bench.where = "mmengine/first"


@fault(
    "mmengine-rank-killed",
    "one rank SIGKILLed, a trainer of mmengine",
    injected="SIGKILL in rank 1, epoch 2, iteration 3",
    must="killed; resumes by itself, completes",
)
def rank_killed(bench: Bench) -> Measurement:
    _mmengine(bench)
    bench.inject(kind="sigkill", rank=1, epoch=2, iteration=3)
    return bench.resumed(bench.train(), "killed")


@fault(
    "mmengine-step-killed",
    "one rank SIGKILLed, a trainer of mmengine, step checkpoints at each step",
    injected="SIGKILL in rank 0, epoch 2, iteration 4",
    must="killed; continues by itself within epoch 2, at most 1 iteration redone; completes",
)
def step_killed(bench: Bench) -> Measurement:
    _mmengine(bench, steps_min=AT_EACH_STEP)
    bench.inject({"kind": "paced"}, kind="sigkill", rank=0, epoch=2, iteration=4)
    return continued(bench, bench.resumed(bench.train(), "killed"), 3, redone=1)


@fault(
    "mmengine-resume-ignored",
    "a trainer of mmengine ignores its --resume",
    injected="Runner.resume does nothing, after SIGKILL in rank 1, epoch 2, iteration 3",
    must="not-resumed, stopped within its first log lines, final",
)
def resume_ignored(bench: Bench) -> Measurement:
    _mmengine(bench)
    bench.inject(kind="sigkill", rank=1, epoch=2, iteration=3, then="ignores-resume")
    return bench.final(bench.train(), 2, "killed", "not-resumed")


@fault(
    "mmengine-checkpoint-truncated",
    "newest checkpoint truncated, a trainer of mmengine",
    injected="epoch_2.pth cut to half and rank 0 SIGKILLed, in epoch 3, iteration 1",
    must="killed; resumes by itself from epoch_1.pth, says what it passed over, completes",
)
def checkpoint_truncated(bench: Bench) -> Measurement:
    _mmengine(bench)
    return bench.passes_over("epoch_2.pth", after=1, epoch=EPOCHS, iteration=1)


@fault(
    "mmengine-iterations-checkpoint-truncated",
    "newest checkpoint truncated, a trainer of mmengine by iterations",
    injected="iter_8.pth cut to half and rank 0 SIGKILLed, in iteration 9",
    must="killed; resumes by itself from iter_4.pth, says what it passed over, completes",
)
def iterations_checkpoint_truncated(bench: Bench) -> Measurement:
    _mmengine(bench, iters=EPOCHS * ITERATIONS)
    return bench.passes_over("iter_8.pth", after=4, epoch=1, iteration=9)
