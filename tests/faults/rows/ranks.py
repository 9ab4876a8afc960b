"""Ranks that die, fail or leave, once and again and again."""

from __future__ import annotations

from faults.bench import TRAIN, Bench
from faults.fault import Measurement, fault


@fault(
    "rank-sigkilled",
    "one rank SIGKILLed",
    injected="SIGKILL in rank 1, epoch 2, iteration 3",
    must="killed; resumes by itself, completes",
)
def rank_sigkilled(bench: Bench) -> Measurement:
    bench.inject(kind="sigkill", rank=1, epoch=2, iteration=3)
    return bench.resumed(bench.train(), "killed")


@fault(
    "rank-raises",
    "one rank raises",
    injected="ValueError in rank 1, epoch 2, iteration 3",
    must="trainer-bug; resumes by itself, completes",
)
def rank_raises(bench: Bench) -> Measurement:
    bench.inject(kind="error", rank=1, epoch=2, iteration=3)
    return bench.resumed(bench.train(), "trainer-bug")


@fault(
    "exits-0-unfinished",
    "trainer exits 0 unfinished",
    injected="every rank exits 0 in epoch 3, iteration 2",
    must="unfinished; resumes by itself, completes",
)
def exits_0_unfinished(bench: Bench) -> Measurement:
    bench.inject(kind="leave", epoch=3, iteration=2)
    return bench.resumed(bench.train(), "unfinished")


@fault(
    "exits-0-without-checkpoint",
    "trainer exits 0 and left no checkpoint that is understood",
    injected="every rank exits 0 in epoch 1, iteration 2; weights.ckpt is in the work dir by then",
    must="final after one attempt, naming the file; a relaunch starts nothing beside it",
)
def exits_0_without_checkpoint(bench: Bench) -> Measurement:
    wait = {"kind": "wait", "rank": 0, "epoch": 1, "iteration": 1}
    bench.inject(wait, {"kind": "leave", "epoch": 1, "iteration": 2})
    launch = bench.start(*TRAIN)
    bench.wait_for("the trainer in epoch 1", lambda: launch.ended or bench.stamps().of("fired"))
    (bench.work_dir / "weights.ckpt").write_bytes(b"weights in another format")
    bench.go_on(1, 1)
    seen = bench.final(launch, 4, "unfinished")
    assert "weights.ckpt" in launch.text, launch.text
    relaunch = bench.train()
    assert "weights.ckpt" in relaunch.text, relaunch.text
    assert len(bench.attempts()) == 1, "a relaunch trained beside files that are not understood"
    return seen


@fault(
    "launcher-sigkilled",
    "torch's launcher SIGKILLed",
    injected="SIGKILL to the parent of rank 0 in epoch 2, iteration 2; the ranks train on",
    must="killed; the ranks are ended; resumes by itself, completes",
)
def launcher_sigkilled(bench: Bench) -> Measurement:
    bench.inject(kind="sigkill-launcher", rank=0, epoch=2, iteration=2)
    return bench.resumed(bench.train(), "killed")


@fault(
    "crash-loop",
    "crash loop without a new checkpoint",
    injected="ValueError in rank 0, epoch 1, iteration 2, each time",
    must="final after 3 attempts in one launch",
)
def crash_loop(bench: Bench) -> Measurement:
    bench.inject(kind="error", rank=0, epoch=1, iteration=2, once=False)
    launch = bench.train()
    seen = bench.final(launch, 4, "trainer-bug", "trainer-bug", "trainer-bug")
    assert "3 attempts in a row saved no new checkpoint" in launch.text, launch.text
    return seen
