"""The ladder of backends: rungs that are not there, that hang, that break in mid-training."""

from __future__ import annotations

from faults.bench import STAGE, Bench, assert_final, next_attempt
from faults.fault import Measurement, fault
from faults.launch import Launch

PROBE_TIMEOUT_S = 30.0


@fault(
    "rung-breaks",
    "comm error in mid-training, probe of the rung then fails",
    injected="rank 1's connections are cut in epoch 2, iteration 3; from then on the rung has no interface",
    must="comm; next rung, resumes, completes, warning in the report",
)
def rung_breaks(bench: Bench) -> Measurement:
    breaking = {"gloo-upper": {"backend": "gloo", "env": {"INJECTED_RUNG": "network-may-break"}}}
    bench.configure(backends=["gloo-upper", "gloo"], rungs=breaking)
    bench.inject(kind="disconnect-for-good", rank=1, epoch=2, iteration=3)
    seen = bench.resumed(bench.train(), "comm")
    rungs = [record.backend for record in bench.attempts()]
    assert rungs == ["gloo-upper", "gloo"], f"the attempts ran on {rungs}"
    for verb in (("analyze", "--stage", STAGE), ("report", "driving")):
        told = bench.ended("trainrelay", *verb)
        assert told.wait() == 0, f"trainrelay {' '.join(verb)} said:\n{told.text}"
    report = (bench.folder / "runs/driving/report.html").read_text()
    assert "backend fell back" in report, "the report does not warn that the backend fell back"
    return seen


@fault(
    "comm-twice",
    "comm error twice on a rung whose probe works",
    injected="rank 1's connections are cut in epoch 2, iteration 3, and again in epoch 3, iteration 2",
    must="comm; the same rung again, then the next one; completes",
)
def comm_twice(bench: Bench) -> Measurement:
    bench.configure(backends=["gloo", "gloo-lower"], rungs={"gloo-lower": {"backend": "gloo"}})
    bench.inject(
        {"kind": "disconnect", "rank": 1, "epoch": 2, "iteration": 3},
        {"kind": "disconnect", "rank": 1, "epoch": 3, "iteration": 2},
    )
    seen = bench.resumed(bench.train(), "comm", "comm")
    rungs = [record.backend for record in bench.attempts()]
    assert rungs == ["gloo", "gloo", "gloo-lower"], f"the attempts ran on {rungs}"
    return seen


@fault(
    "comm-text-of-another",
    "comm text caused by another rank's exception",
    injected="rank 1 loses its connections and raises ValueError; rank 0 prints gloo's error",
    must="trainer-bug, no step down; completes",
)
def comm_text_of_another(bench: Bench) -> Measurement:
    bench.configure(backends=["gloo", "gloo-lower"], rungs={"gloo-lower": {"backend": "gloo"}})
    bench.inject(kind="error-after-disconnect", rank=1, epoch=2, iteration=3)
    seen = bench.resumed(bench.train(), "trainer-bug")
    assert "gloo/transport" in bench.log(1), f"rank 0 never printed gloo's error:\n{bench.log(1)[-3000:]}"
    rungs = [record.backend for record in bench.attempts()]
    assert rungs == ["gloo", "gloo"], f"it stepped down: the attempts ran on {rungs}"
    return seen


def _fell_back(bench: Bench, launch: Launch, upper: str) -> Measurement:
    """The first attempt ran on the second rung, and nothing else happened."""
    status, records = launch.wait(), bench.attempts()
    assert status == 0, f"the launch ended with exit status {status} and said:\n{launch.text}"
    found = [(record.backend, record.end) for record in records]
    assert found == [("gloo", "done")], f"the attempts ran and ended as {found}"
    assert "falls back to gloo" in launch.text, f"the fallback was not reported:\n{launch.text}"
    assert bench.complete(), "train.json does not tell of the last epoch"
    noticed_s = launch.said_at(rf"warning: {upper} (fails|hangs) here") - launch.started_s
    outcome = next(probe.outcome for probe in records[0].probes if probe.rung == upper)
    return Measurement(noticed_s, f"probe {outcome}", next_attempt(records[0]), "completes")


@fault(
    "nccl-absent",
    "NCCL absent / no GPU",
    injected="backends: [nccl, gloo] on a machine without a GPU",
    must="next rung within the deadline; completes",
)
def nccl_absent(bench: Bench) -> Measurement:
    bench.configure(backends=["nccl", "gloo"])
    bench.injected_now("nccl-absent")
    return _fell_back(bench, bench.train(), "nccl")


@fault(
    "probe-hangs",
    "a rung whose probe hangs",
    injected=f"rank 1 sleeps in the rung's all_reduce; probe_timeout_s: {PROBE_TIMEOUT_S:g}",
    must="next rung within the deadline; completes",
)
def probe_hangs(bench: Bench) -> Measurement:
    hanging = {"gloo-hangs": {"backend": "gloo", "env": {"INJECTED_RUNG": "hangs"}}}
    bench.configure(backends=["gloo-hangs", "gloo"], rungs=hanging, probe_timeout_s=PROBE_TIMEOUT_S)
    bench.injected_now("probe-hangs")
    seen = _fell_back(bench, bench.train(), "gloo-hangs")
    assert seen.ended_as == "probe hangs", f"the probe ended as: {seen.ended_as}"
    return seen


@fault(
    "all-rungs-fail",
    "all rungs fail",
    injected="backends: [nccl, gloo over an interface that does not exist], no GPU",
    must="final, one sentence, no attempt",
    quick=True,
)
def all_rungs_fail(bench: Bench) -> Measurement:
    broken = {"gloo-broken": {"backend": "gloo", "env": {"INJECTED_RUNG": "no-network"}}}
    bench.configure(backends=["nccl", "gloo-broken"], rungs=broken)
    bench.injected_now("all-rungs-fail")
    launch = bench.train()
    assert_final(launch, launch.wait(), 4)
    sentence = launch.text.strip().splitlines()[-1]
    for rung in ("nccl fails here", "gloo-broken fails here"):
        assert rung in sentence, f"the last line does not say that {rung}:\n{sentence}"
    assert not bench.attempts(), f"{len(bench.attempts())} attempts were begun"
    noticed_s = launch.said_at("no backend of the ladder works") - launch.started_s
    return Measurement(noticed_s, "every probe fails", "your decision (exit status 4)", "final")
