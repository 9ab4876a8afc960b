"""Trainers without progress: the watchdog's limit is fixed, because a measured one is never below minutes."""

from __future__ import annotations

import time

from faults.bench import ITERATIONS, STAGE, Bench
from faults.fault import Measurement, fault

# Start-up counts, and must be over by then on a busy machine as well.
LIMIT_S = 45.0
MUST = f"hang, noticed after {LIMIT_S:g} s without progress, stacks of all ranks; resumes, completes"


def _hang(bench: Bench, kind: str, rank: int) -> Measurement:
    bench.configure(hang_timeout_s=LIMIT_S)
    bench.inject(kind=kind, rank=rank, epoch=2, iteration=4)
    seen = bench.resumed(bench.train(), "hang")
    reason = str(bench.attempts()[0].reason)
    assert f"hang_timeout_s allows {LIMIT_S:g} s" in reason, f"the reason names another limit: {reason}"
    assert "since epoch 2, iteration 3" in reason, f"the reason does not say where it was: {reason}"
    for number in (0, 1):
        stacks = bench.stage / f"attempts/001/stacks/rank-{number}.txt"
        assert stacks.exists(), f"no stacks of rank {number} were kept; the reason: {reason}"
    return seen


@fault(
    "rank-hangs-in-collective",
    "a rank hangs in a collective",
    injected="rank 1 enters a barrier alone in epoch 2, iteration 4",
    must=MUST,
)
def rank_hangs_in_collective(bench: Bench) -> Measurement:
    seen = _hang(bench, "collective", rank=1)
    stacks = (bench.stage / "attempts/001/stacks/rank-1.txt").read_text()
    assert "in barrier" in stacks, f"the stacks of rank 1 do not show the barrier:\n{stacks}"
    return seen


@fault(
    "data-worker-hangs",
    "a data worker hangs",
    injected="rank 0's data worker sleeps when it loads iteration 4 of epoch 2",
    must=MUST,
)
def data_worker_hangs(bench: Bench) -> Measurement:
    seen = _hang(bench, "data-worker", rank=0)
    folder = bench.stage / "attempts/001/stacks"
    workers = [path.read_text() for path in folder.glob("rank-0-pid-*.txt")]
    assert any("in hanging" in text for text in workers), f"no worker's stack shows it: {workers}"
    return seen


@fault(
    "rank-stopped",
    "SIGSTOP on a rank",
    injected="SIGSTOP in rank 1, epoch 2, iteration 4",
    must=MUST,
)
def rank_stopped(bench: Bench) -> Measurement:
    return _hang(bench, "sigstop", rank=1)


@fault(
    "lines-not-understood",
    "a trainer whose lines are not understood",
    injected=f"no progress lines; other lines for longer than {LIMIT_S:g} s, which are the limit here",
    must="it says that its progress is unknown; it is not ended, and completes",
)
def lines_not_understood(bench: Bench) -> Measurement:
    options = {"data.train.length": 8 * ITERATIONS, "data.workers_per_gpu": 1}
    # With the hook its steps would be known.
    bench.configure(options={**options, "log_config.interval": 1_000_000}, hook=False)
    bench.inject(kind="talk", rank=0, epoch=2, iteration=1)
    launch = bench.start("injected_short_limits", "train", STAGE, PYTHONPATH=str(bench.plan.parent))
    fired = bench.wait_for("the trainer in epoch 2", lambda: launch.ended or bench.stamps().of("fired"))
    assert fired is not True, f"it ended before its trainer came to epoch 2, and said:\n{launch.text}"
    time.sleep(LIMIT_S + 10)
    bench.go_on(2, 1)
    status, (record,) = launch.wait(), bench.attempts()
    found = (status, record.end, record.last_epoch)
    assert found == (0, "done", None), f"it ended as {found} ({record.reason}):\n{launch.text}"
    assert bench.complete(), "train.json does not tell of the last epoch"
    assert "alive, progress unknown" in launch.text, f"it was not said:\n{launch.text}"
    assert "; the last ones: " in launch.text, f"none of the lines was shown:\n{launch.text}"
    noticed_s = bench.said_at(launch, "alive, progress unknown") - bench.moments()[0]["at_s"]
    return Measurement(max(0.0, noticed_s), "done", "nothing was ended", "completes")


@fault(
    "rank-spins",
    "a rank spins, as in a collective of NCCL",
    injected="rank 1 keeps its processor busy and prints a complaint each second in epoch 2, iteration 4",
    must=MUST,
)
def rank_spins(bench: Bench) -> Measurement:
    return _hang(bench, "spin", rank=1)
