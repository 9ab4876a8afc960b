"""Trainings that run and must not count: numbers that are not finite, a start from zero."""

from __future__ import annotations

from faults.bench import EPOCHS, ITERATIONS, STAGE, Bench
from faults.fault import Measurement, fault

STEP = "epoch 2, iteration 3"  # that the hook did not let happen


@fault(
    "nan-loss",
    "NaN loss from step k",
    injected="a weight of every rank becomes NaN in epoch 2, iteration 3",
    must="diverged, final, gate closed, report says the step",
)
def nan_loss(bench: Bench) -> Measurement:
    bench.inject(kind="nan", epoch=2, iteration=3)
    seen = bench.final(bench.train(), 3, "diverged")
    promote = bench.ended("trainrelay", "promote", STAGE)
    assert promote.wait() != 0, f"promote promoted the checkpoint:\n{promote.text}"
    assert not (bench.stage / "checkpoint.json").exists(), "promote left a checkpoint.json"
    analysis = (bench.stage / "analysis.md").read_text()
    assert STEP in analysis, f"analysis.md does not name the step:\n{analysis}"
    report = (bench.folder / "runs/driving/report.html").read_text()
    assert STEP in report, "report.html does not name the step"
    return seen


@fault(
    "starts-from-zero",
    "trainer silently starts from zero despite resume",
    injected="SIGKILL in rank 1, epoch 3, iteration 2; then the runner's resume does nothing",
    must="not-resumed, stopped within its first log lines, final",
)
def starts_from_zero(bench: Bench) -> Measurement:
    bench.inject(
        {"kind": "sigkill", "rank": 1, "epoch": EPOCHS, "iteration": 2},
        {"kind": "ignores-resume", "rank": None},
    )
    seen = bench.final(bench.train(), 2, "killed", "not-resumed")
    record = bench.attempts()[1]
    done = [one for one in bench.stamps().of("iteration") if one["tag"] == record.tag]
    assert len(done) <= ITERATIONS, f"it trained {len(done)} iterations before it was stopped"
    return seen
