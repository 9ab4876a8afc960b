"""Trainings that are ended within an epoch and continue at the step; what can be wrong with that."""

from __future__ import annotations

import re
import signal

from faults.bench import TRAIN, Bench, ends_of, next_attempt
from faults.fault import Measurement, fault
from trainrelay.records import StepPoint
from trainrelay.training.step_checkpoints import read_steps

OFTEN, RARELY = 0.001, 10  # minutes between two of them: at each step, and only where one is asked for


def _resumed_step(bench: Bench, number: int) -> StepPoint:
    record = bench.attempts()[number - 1]
    assert record.resumed_step, f"attempt {number} was not to continue at a step: {record}"
    assert not record.hook_problems, f"attempt {number}: {record.hook_problems}"
    return record.resumed_step


def _asked(bench: Bench, *signals: signal.Signals) -> None:
    """The trainer is held in epoch 2, iteration 3; the stop is asked for, and then it may continue."""
    bench.configure(checkpoint_interval_min=RARELY)
    launch = bench.held(*TRAIN)
    bench.injected_now("asked-to-stop")
    launch.process.send_signal(signals[0])
    request = bench.stage / "attempts/001/hook/save-now"
    bench.wait_for("the request for a step checkpoint", lambda: launch.ended or request.exists())
    for signum in signals[1:]:
        launch.process.send_signal(signum)
    if not signals[1:]:
        bench.go_on()
    assert launch.wait() == 75, f"it ended with exit status {launch.process.returncode}:\n{launch.text}"
    assert not bench.processes(), f"processes outlived it: {bench.processes()}"
    assert "Traceback" not in launch.text, launch.text


def _continued_after_epoch_1(bench: Bench) -> None:
    point = _resumed_step(bench, 2)
    assert (point.epoch, point.iteration) == (2, 0), f"it continued {point}"


def _completed(bench: Bench) -> Measurement:
    launch, records = bench.train(), bench.attempts()
    assert launch.process.returncode == 0, launch.text
    found = [record.end for record in records]
    assert found == ["interrupted", "done"], f"the attempts ended {ends_of(records)}"
    assert bench.complete(), "train.json does not tell of the last epoch"
    return Measurement(
        bench.noticed_after_s(records[0]), "interrupted", next_attempt(records[1]), "completes"
    )


@fault(
    "step-killed",
    "one rank SIGKILLed, step checkpoints at each step",
    injected="SIGKILL in rank 1, epoch 2, iteration 4",
    must="killed; continues by itself within epoch 2, completes; no step checkpoint is left",
)
def step_killed(bench: Bench) -> Measurement:
    bench.configure(checkpoint_interval_min=OFTEN)
    bench.inject(kind="sigkill", rank=1, epoch=2, iteration=4)
    seen = bench.resumed(bench.train(), "killed")
    assert _resumed_step(bench, 2).epoch == 2, bench.attempts()[1].resumed_step
    assert max(bench.stamps().redone()) <= 2, f"redone: {bench.stamps().redone()}"
    assert read_steps(bench.stage) == ([], []), "step checkpoints of a finished training are left"
    return seen


@fault(
    "step-stopped",
    "SIGTERM at the supervisor, with step checkpoints",
    injected="SIGTERM in epoch 2, iteration 3; the same command again",
    must="one is saved; interrupted; the relaunch continues at its step and redoes at most one, completes",
)
def step_stopped(bench: Bench) -> Measurement:
    _asked(bench, signal.SIGTERM)
    seen = _completed(bench)
    point = _resumed_step(bench, 2)
    # Quick steps: rank 0 looks for a request once per second.
    assert (point.epoch, point.iteration) >= (2, 3), f"it continued {point}"
    assert max(bench.stamps().redone(), default=0) <= 1, f"redone: {bench.stamps().redone()}"
    return seen


@fault(
    "step-ctrl-c-twice",
    "Ctrl-C a second time while a step checkpoint is waited for",
    injected="SIGINT to the supervisor in epoch 2, iteration 3, where rank 0 waits; SIGINT again; the same"
    " command again",
    must="ends at once; the relaunch continues at the end of epoch 1, completes",
)
def step_ctrl_c_twice(bench: Bench) -> Measurement:
    _asked(bench, signal.SIGINT, signal.SIGINT)
    seen = _completed(bench)
    _continued_after_epoch_1(bench)
    return seen


@fault(
    "step-rank-file-corrupted",
    "a rank's file of the step checkpoint is corrupted",
    injected="SIGTERM in epoch 2, iteration 3; a byte of rank-1.pt changed; the same command again",
    must="interrupted; the relaunch says which file, continues at the one before, completes",
)
def step_rank_file_corrupted(bench: Bench) -> Measurement:
    _asked(bench, signal.SIGTERM)
    newest = read_steps(bench.stage)[0][0]
    path = newest.folder / "rank-1.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    seen = _completed(bench)
    assert _resumed_step(bench, 2).step < newest.manifest.step
    said = bench.stage.parent / ".stage1/events.jsonl"
    assert re.search(
        r"not resumed from: .*the sha256 of rank-1.pt is not that of its manifest", said.read_text()
    )
    return seen
