"""A script of the user's own, that of docs/my_own_script.md: a rank that dies, a resume that is ignored, a
checkpoint that is cut short."""

from __future__ import annotations

from faults.bench import EPOCHS, ITERATIONS, Bench
from faults.fault import Measurement, fault
from support.own_script import CONFIG, SCRIPT, changed

STEPS = f"    for i in range({ITERATIONS}):\n        injected_script.step(epoch, i, args.out)\n"
INJECTED = changed(
    SCRIPT,
    ("import argparse, os,", "import argparse, injected_script, os,"),
    ('first = saved["epoch"] + 1', 'first = injected_script.first(saved["epoch"] + 1, args.out)'),
    ("    for i in range(10):\n", f"    injected_script.epoch(epoch, args.out)\n{STEPS}"),
    ("/10 loss", f"/{ITERATIONS} loss"),
    ("        optimizer.step()\n", "        optimizer.step()\n        injected_script.done(epoch, i)\n"),
)


def _script(bench: Bench) -> None:
    """The bench plays with the script instead."""
    checkout = bench.folder / "script"
    checkout.mkdir()
    (checkout / "train.py").write_text(INJECTED)
    env = {"PYTHONPATH": str(bench.plan.parent), "OMP_NUM_THREADS": "1"}
    trainer = {**CONFIG["runs"]["mine"]["trainer"], "root": str(checkout), "device": "cpu", "env": env}
    del trainer["interpreter"]
    runs = {"mine": {"trainer": trainer, "stages": {"one": {"config": "train.py", "epochs": EPOCHS}}}}
    bench.project.configure(lambda data: data.update(runs=runs))
    bench.where = "mine/one"


@fault(
    "script-rank-killed",
    "one rank SIGKILLed, a script of kind script",
    injected="SIGKILL in rank 1, epoch 2, iteration 3",
    must="killed; resumes by itself, completes",
)
def rank_killed(bench: Bench) -> Measurement:
    _script(bench)
    bench.inject(kind="sigkill", rank=1, epoch=2, iteration=3)
    return bench.resumed(bench.train(), "killed")


@fault(
    "script-resume-ignored",
    "a script of kind script ignores its --resume",
    injected="it begins with its first epoch, after SIGKILL in rank 1, epoch 2, iteration 3",
    must="not-resumed, stopped within its first log lines, final",
)
def resume_ignored(bench: Bench) -> Measurement:
    _script(bench)
    bench.inject(kind="sigkill", rank=1, epoch=2, iteration=3, then="ignores-resume")
    return bench.final(bench.train(), 2, "killed", "not-resumed")


@fault(
    "script-checkpoint-truncated",
    "newest checkpoint truncated, a script of kind script",
    injected="epoch_1.pt, of epoch 2, cut to half and rank 0 SIGKILLed, in epoch 3, iteration 1",
    must="killed; resumes by itself from epoch_0.pt, says what it passed over, completes",
)
def checkpoint_truncated(bench: Bench) -> Measurement:
    _script(bench)
    return bench.passes_over("epoch_1.pt", after=1, epoch=EPOCHS, iteration=1)
