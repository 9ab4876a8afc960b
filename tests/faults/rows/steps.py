"""Trainings that are ended within an epoch and continue at the step; what can be wrong with that.

Each step checkpoint is written before the next iteration begins (`paced`), so a row knows which there are.
The most that a row may redo is part of its result.
"""

from __future__ import annotations

import re
import signal
import time
from dataclasses import replace

from faults.bench import STAGE, TRAIN, Bench, ends_of, next_attempt
from faults.fault import Measurement, fault
from faults.launch import Launch
from faults.rows.leases import returned, suspended
from faults.rows.resources import small_disk
from faults.rows.supervisors import cleared_environment
from trainrelay.training.step_checkpoints import StepCheckpoint, read_steps
from trainrelay_hook.step_saving import LOOK_S

AT_EACH_STEP, RARELY = 1e-6, 10  # minutes between two of them; rarely: only where one is asked for
NO_HOOK = "the hook did not attach: no rank loaded it"


def lets_save(bench: Bench, launch: Launch) -> None:
    """The trainer, which is held in epoch 2, iteration 3, is asked for a step checkpoint and may continue."""
    request = bench.stage / "attempts/001/hook/save-now"
    bench.wait_for("the request for a step checkpoint", lambda: launch.ended or request.exists())
    time.sleep(LOOK_S)  # so long ago rank 0 has looked for it: it does when the iteration ends
    bench.go_on()


def continued(bench: Bench, seen: Measurement, iteration: int, redone: int) -> Measurement:
    """The second attempt continued after this iteration of epoch 2, and redid at most so many."""
    record, found = bench.attempts()[1], bench.stamps().redone()
    point = record.resumed_step
    assert point, f"it was not to continue at a step: {record}"
    assert record.hook is record.not_resumed is None, f"it did not continue: {record}"
    assert (point.epoch, point.iteration) == (2, iteration), f"it continued {point}"
    assert max(found, default=0) <= redone, f"redone: {found}, not at most {redone}"
    return replace(seen, result=f"{seen.result}, at most {redone} redone")


def _stopped(bench: Bench, launch: Launch) -> None:
    assert launch.wait() == 75, f"it ended with exit status {launch.process.returncode}:\n{launch.text}"
    assert not bench.processes(), f"processes outlived it: {bench.processes()}"
    assert "Traceback" not in launch.text, launch.text


def _saved_on_sigterm(bench: Bench) -> None:
    bench.configure(checkpoint_interval_min=RARELY)
    launch = bench.held(*TRAIN)
    bench.injected_now("asked-to-stop")
    launch.process.send_signal(signal.SIGTERM)
    lets_save(bench, launch)
    _stopped(bench, launch)


def _completed(bench: Bench, launch: Launch) -> Measurement:
    """The same command again completed what was stopped."""
    status, records = launch.wait(), bench.attempts()
    assert status == 0, launch.text
    found = [record.end for record in records]
    assert found == ["interrupted", "done"], f"the attempts ended {ends_of(records)}"
    assert bench.complete(), "train.json does not tell of the last epoch"
    return Measurement(
        bench.noticed_after_s(records[0]), "interrupted", next_attempt(records[1]), "completes"
    )


@fault(
    "step-killed",
    "one rank SIGKILLed, step checkpoints at each step",
    injected="SIGKILL in rank 0, epoch 2, iteration 4",
    must="killed; continues by itself within epoch 2, at most 1 iteration redone; completes, no step"
    " checkpoint is left",
)
def step_killed(bench: Bench) -> Measurement:
    bench.configure(checkpoint_interval_min=AT_EACH_STEP)
    bench.inject({"kind": "paced"}, kind="sigkill", rank=0, epoch=2, iteration=4)
    seen = bench.resumed(bench.train(), "killed")
    assert read_steps(bench.stage) == ([], []), "step checkpoints of a finished training are left"
    return continued(bench, seen, 3, redone=1)


@fault(
    "step-killed-before-manifest",
    "a rank SIGKILLed between its files and the manifest of a step checkpoint",
    injected="from epoch 2, iteration 3 on: SIGKILL in rank 0 when all ranks' files are there",
    must="killed; continues at the one before, at most 1 iteration redone; completes",
)
def step_killed_before_manifest(bench: Bench) -> Measurement:
    bench.configure(checkpoint_interval_min=AT_EACH_STEP)
    bench.inject({"kind": "paced"}, kind="sigkill-before-manifest", rank=0, epoch=2, iteration=3)
    return continued(bench, bench.resumed(bench.train(), "killed"), 2, redone=1)


@fault(
    "step-stopped",
    "SIGTERM at the supervisor, with step checkpoints",
    injected="SIGTERM in epoch 2, iteration 3; the same command again",
    must="one is saved; interrupted; the relaunch continues at its step, at most 1 iteration redone;"
    " completes",
)
def step_stopped(bench: Bench) -> Measurement:
    _saved_on_sigterm(bench)
    return continued(bench, _completed(bench, bench.train()), 3, redone=1)


@fault(
    "step-stop-command",
    "`trainrelay stop`, with step checkpoints",
    injected="`trainrelay stop` in epoch 2, iteration 3; the same command again",
    must="one is saved; interrupted; the relaunch continues at its step, at most 1 iteration redone;"
    " completes",
)
def step_stop_command(bench: Bench) -> Measurement:
    bench.configure(checkpoint_interval_min=RARELY)
    launch = bench.held(*TRAIN)
    bench.injected_now("asked-to-stop")
    stop = bench.start("trainrelay", "stop", STAGE)
    lets_save(bench, launch)
    assert stop.wait() == 0, stop.text
    _stopped(bench, launch)
    assert "It resumes in epoch 2 after iteration 3" in stop.text, stop.text
    return continued(bench, _completed(bench, bench.train()), 3, redone=1)


@fault(
    "step-ctrl-c-twice",
    "Ctrl-C a second time while a step checkpoint is waited for",
    injected="SIGINT to the supervisor in epoch 2, iteration 3, where rank 0 waits; SIGINT again; the same"
    " command again",
    must="ends at once; the relaunch continues at the end of epoch 1, at most 2 iterations redone; completes",
)
def step_ctrl_c_twice(bench: Bench) -> Measurement:
    bench.configure(checkpoint_interval_min=RARELY)
    launch = bench.held(*TRAIN)
    bench.injected_now("asked-to-stop")
    launch.process.send_signal(signal.SIGINT)
    bench.said_at(launch, "waiting for a step checkpoint")
    launch.process.send_signal(signal.SIGINT)
    _stopped(bench, launch)
    return continued(bench, _completed(bench, bench.train()), 0, redone=2)


@fault(
    "step-rank-file-corrupted",
    "a rank's file of the step checkpoint is corrupted",
    injected="SIGTERM in epoch 2, iteration 3; a byte of rank-1.pt changed; the same command again",
    must="interrupted; the relaunch says which file, continues at the one before, at most 3 iterations"
    " redone; completes",
)
def step_rank_file_corrupted(bench: Bench) -> Measurement:
    _saved_on_sigterm(bench)
    path = _steps(bench)[0].folder / "rank-1.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    seen = _completed(bench, bench.train())
    said = bench.stage.parent / ".stage1/events.jsonl"
    assert re.search(
        r"not resumed from: .*the sha256 of rank-1.pt is not that of its manifest", said.read_text()
    )
    return continued(bench, seen, 0, redone=3)


@fault(
    "step-disk-full",
    "disk full while step checkpoints are saved",
    injected="save_failures_max: 2; before epoch 2, iteration 2 the tmpfs of runs/ is filled up to 1 MB, the"
    " work dir is elsewhere; SIGKILL in rank 0, epoch 2, iteration 4",
    must="trains on; continues at the step checkpoint before, at most 2 iterations redone; two more saves"
    " fail, no third is tried; completes",
)
def step_disk_full(bench: Bench) -> Measurement:
    assert small_disk(bench, bench.folder / "runs"), "this user may not mount"
    bench.configure(
        checkpoint_interval_min=AT_EACH_STEP, save_failures_max=2, work_dir=str(bench.folder / "apart")
    )
    bench.inject(
        {"kind": "paced"},
        {"kind": "disk-of-steps-nearly-full", "rank": 0, "epoch": 2, "iteration": 2},
        {"kind": "sigkill", "rank": 0, "epoch": 2, "iteration": 4},
    )
    seen = bench.resumed(bench.train(), "killed")
    # Each attempt's second in a row; in its first iteration, step 6 of the second one, it saves none.
    for record, step in zip(bench.attempts(), (7, 8), strict=True):
        said = f"a step checkpoint could not be saved: the step checkpoint of step {step}: "
        assert (record.unsaved or "").startswith(said), record
        assert "No space left on device" in (record.unsaved or ""), record
    return continued(bench, seen, 1, redone=2)


@fault(
    "step-fenced",
    "suspended owner returns, step checkpoints at each step",
    injected="SIGSTOP to node9's supervisor alone; a start here takes over; node9's trainer trains on into"
    " epoch 3; SIGCONT",
    must="the takeover continues at the step, at most 1 iteration redone; the old trainer saves no further"
    " step checkpoint; fenced: exit status 75; completes",
)
def step_fenced(bench: Bench) -> Measurement:
    bench.configure(checkpoint_interval_min=AT_EACH_STEP)
    owner, taker = suspended(bench)
    old = bench.stage / "attempts/001"
    steps = [one.manifest.step for one in _steps(bench) if one.folder.is_relative_to(old)]
    assert steps == [6, 5], f"attempt 1 has saved the steps {steps}"
    assert len(list((old / "steps").iterdir())) == 2, "a step checkpoint was begun after the takeover"
    return continued(bench, returned(bench, owner, taker), 2, redone=1)


def _steps(bench: Bench) -> list[StepCheckpoint]:
    return read_steps(bench.stage)[0]


@fault(
    "step-hook-absent",
    "the trainer's environment is cleared, so the hook is not loaded",
    injected="the interpreter is a wrapper that execs `env -i`; SIGTERM to the supervisor in epoch 2,"
    " iteration 3; `trainrelay plan`, then `snakemake`",
    must="trains without step checkpoints; log, plan and report say that the hook did not attach; continues"
    " after epoch 1, at most 2 iterations redone; completes",
)
def step_hook_absent(bench: Bench) -> Measurement:
    bench.configure(checkpoint_interval_min=AT_EACH_STEP)
    cleared_environment(bench)
    launch = bench.held(*TRAIN)
    launch.said_at(NO_HOOK)
    bench.injected_now("asked-to-stop")
    launch.process.send_signal(signal.SIGTERM)
    _stopped(bench, launch)
    assert "waiting for a step checkpoint" not in launch.text, launch.text
    plan = bench.ended("trainrelay", "plan").text
    assert f"attempt 1: {NO_HOOK}" in " ".join(plan.split()), plan
    seen = _completed(bench, bench.snakemake())
    report = (bench.stage.parent / "report.html").read_text()
    assert "trained without the hook" in report, "the report does not say so"
    assert not any(record.resumed_step for record in bench.attempts()), ends_of(bench.attempts())
    found = bench.stamps().redone()
    assert max(found, default=0) <= 2, f"redone: {found}"
    return replace(seen, result=f"{seen.result}, at most 2 redone")
