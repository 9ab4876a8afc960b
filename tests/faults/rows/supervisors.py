"""Supervisors and Snakemakes that are killed, stopped or started twice; their trainers train on or end."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from faults.bench import EPOCHS, IN_ALLOCATION, MARK, SNAKEMAKE, STAGE, TRAIN, Bench, ends_of, next_attempt
from faults.fault import Measurement, fault
from faults.launch import Launch
from support.supervising import carrying

FOLLOWS_SUPERVISOR = r"trains it already, so this start follows it"
FOLLOWS = r"attempt 1 continues though its supervisor died: following it"
LIMIT_S = 45.0  # as in hangs.py
ROUNDS = 50


def _relaunched(bench: Bench) -> Launch:
    """The supervisor of a trainer that is held is SIGKILLed; a relaunch that follows the trainer."""
    killed = bench.held(*TRAIN)
    bench.injected_now("supervisor-sigkilled")
    killed.process.kill()
    killed.wait()
    relaunch = bench.start(*TRAIN)
    bench.said_at(relaunch, FOLLOWS)
    return relaunch


def _one_training(bench: Bench, what: str) -> None:
    """The stage is complete after one attempt, whose trainer was started once."""
    ends = [record.end for record in bench.attempts()]
    assert ends == ["done"], f"{what}, the attempts ended {ends_of(bench.attempts())}"
    tags = {line["tag"] for line in bench.stamps().of("start")}
    assert len(tags) == 1, f"{what}, {len(tags)} trainers had been started"
    assert bench.complete(), f"{what}, train.json does not tell of the last epoch"


def _succeeds(launch: Launch) -> None:
    assert launch.wait() == 0, f"it ended with exit status {launch.process.returncode}:\n{launch.text}"


@fault(
    "supervisor-sigkilled",
    "supervisor SIGKILLed, trainer alive; relaunch",
    injected="SIGKILL to the supervisor in epoch 2, iteration 3; `trainrelay train` again",
    must="the relaunch follows the living trainer; completes in the same attempt",
)
def supervisor_sigkilled(bench: Bench) -> Measurement:
    relaunch = _relaunched(bench)
    bench.go_on()
    _succeeds(relaunch)
    _one_training(bench, "after the relaunch")
    noticed_s = relaunch.said_at(FOLLOWS) - relaunch.started_s
    return Measurement(noticed_s, "done", "the relaunch follows attempt 1", "completes")


@fault(
    "supervisor-sigkilled-cleared-environment",
    "supervisor SIGKILLed, trainer alive under a cleared environment; relaunch",
    injected="the interpreter is a wrapper that execs `env -i`; SIGKILL to the supervisor in epoch 2,"
    " iteration 3; `trainrelay train` again",
    must="the relaunch follows the living trainer; completes in the same attempt",
)
def supervisor_sigkilled_cleared_environment(bench: Bench) -> Measurement:
    cleared_environment(bench)
    relaunch = _relaunched(bench)
    assert not carrying(bench.attempts()[0].tag), "the trainer's environment was not cleared"
    bench.go_on()
    _succeeds(relaunch)
    _one_training(bench, "after the relaunch")
    starts = bench.stamps().of("start")
    assert len({line["pid"] for line in starts}) == len({line["rank"] for line in starts}), starts
    noticed_s = relaunch.said_at(FOLLOWS) - relaunch.started_s
    return Measurement(noticed_s, "done", "the relaunch follows attempt 1", "completes")


def cleared_environment(bench: Bench) -> None:
    """Nothing of the trainer's environment is left but what this row itself needs."""
    wrapper = bench.plan.with_name("cleared")
    wrapper.write_text(
        f'#!/bin/sh\nexec env -i PATH="$PATH" PYTHONPATH="$PYTHONPATH" {MARK}="${MARK}"'
        f' "{sys.executable}" "$@"\n'
    )
    wrapper.chmod(0o755)

    def change(data: dict[str, Any]) -> None:
        data["runs"]["driving"]["trainer"]["interpreter"] = str(wrapper)

    bench.project.configure(change)


@fault(
    "orphan-dies",
    "supervisor SIGKILLed; the trainer that the relaunch follows dies",
    injected="SIGKILL to the supervisor in epoch 2, iteration 3; when a relaunch follows, SIGKILL to rank 1",
    must="killed; the relaunch tries again, resumes, completes",
)
def orphan_dies(bench: Bench) -> Measurement:
    relaunch = _relaunched(bench)
    rank = next(line["pid"] for line in bench.stamps().of("start") if line["rank"] == 1)
    bench.injected_now("rank-sigkilled")
    os.kill(rank, signal.SIGKILL)
    seen = bench.resumed(relaunch, "killed")
    return replace(seen, noticed_after_s=_ended_after(bench, "rank-sigkilled"))


@fault(
    "orphan-hangs",
    "supervisor SIGKILLed; the trainer that the relaunch follows hangs",
    injected="SIGKILL to the supervisor in epoch 2, iteration 3, where rank 0 then waits indefinitely",
    must=f"hang, noticed after {LIMIT_S:g} s without progress; the relaunch resumes, completes",
)
def orphan_hangs(bench: Bench) -> Measurement:
    bench.configure(hang_timeout_s=LIMIT_S)
    relaunch = _relaunched(bench)
    seen = bench.resumed(relaunch, "hang")
    stacks = bench.stage / "attempts/001/stacks/rank-0.txt"
    assert "in wait" in stacks.read_text(), f"the stacks do not show where rank 0 waits: {stacks.read_text()}"
    return replace(seen, noticed_after_s=_ended_after(bench, "supervisor-sigkilled"))


def _ended_after(bench: Bench, kind: str) -> float:
    """From an injection to the end of the first attempt."""
    at_s = next(moment["at_s"] for moment in bench.moments() if moment["kind"] == kind)
    ended_s = bench.attempts()[0].ended_s
    assert ended_s is not None
    return float(ended_s - at_s)


# ---------------------------------------------------------------------- Snakemake killed


def _snakemake_killed(bench: Bench) -> Launch:
    """Snakemake alone is SIGKILLed; its supervisor and the trainer, which is held, live on."""
    killed = bench.held(*SNAKEMAKE)
    bench.injected_now("snakemake-sigkilled")
    killed.process.kill()
    killed.process.wait()
    return killed


def _unlocked(bench: Bench) -> None:
    """What you run after Snakemake itself said so."""
    locked = bench.snakemake()
    assert locked.wait() != 0, f"Snakemake started despite the lock:\n{locked.text}"
    assert "--unlock" in locked.text, f"Snakemake does not say what to run:\n{locked.text}"
    _succeeds(bench.ended("snakemake", "--unlock"))


@fault(
    "snakemake-sigkilled",
    "Snakemake SIGKILLed, supervisor and trainer alive; relaunch",
    injected="SIGKILL to Snakemake in epoch 2, iteration 3; `snakemake --unlock`, then `snakemake`, at first"
    " inside an allocation",
    must="refused inside an allocation; else the relaunch follows the old supervisor, then trains nothing",
)
def snakemake_sigkilled(bench: Bench) -> Measurement:
    old = _snakemake_killed(bench)
    _unlocked(bench)
    refused = bench.ended(*SNAKEMAKE, **IN_ALLOCATION)
    assert refused.wait() != 0, f"a second training was started:\n{refused.text}"
    supervisor = bench.attempts()[0].supervisor_pid
    refused.said_at(rf"{STAGE} is training already: .*\(pid {supervisor}\).*: trainrelay stop {STAGE}\b")
    relaunch = bench.start(*SNAKEMAKE)
    noticed_s = bench.said_at(relaunch, FOLLOWS_SUPERVISOR) - relaunch.started_s
    bench.go_on()
    _succeeds(relaunch)
    _one_training(bench, f"after the old supervisor, which said:\n{old.text}\n")
    _handed_on(bench)
    return Measurement(noticed_s, "done", "the relaunch follows the old supervisor", "completes")


@fault(
    "snakemake-and-supervisor-sigkilled",
    "Snakemake and its supervisor SIGKILLed, trainer alive; relaunch",
    injected="SIGKILL to both in epoch 2, iteration 3; `snakemake --unlock`, then `snakemake`",
    must="the relaunch follows the living trainer; completes in the same attempt",
)
def snakemake_and_supervisor_sigkilled(bench: Bench) -> Measurement:
    _snakemake_killed(bench)
    os.kill(bench.attempts()[0].supervisor_pid, signal.SIGKILL)
    _unlocked(bench)
    relaunch = bench.start(*SNAKEMAKE)
    noticed_s = bench.said_at(relaunch, FOLLOWS) - relaunch.started_s
    bench.go_on()
    _succeeds(relaunch)
    _one_training(bench, "after the relaunch")
    _handed_on(bench)
    return Measurement(noticed_s, "done", "the relaunch follows attempt 1", "completes")


def _handed_on(bench: Bench) -> None:
    """The promoted checkpoint is the last epoch's, and the report is there."""
    last = bench.work_dir / f"epoch_{EPOCHS}.pth"
    assert bench.promoted.read_bytes() == last.read_bytes(), f"{bench.promoted} is not {last}"
    assert (bench.stage.parent / "report.html").exists(), "there is no report"


# ---------------------------------------------------------------------- asked to stop


def _stopped(bench: Bench, launch: Launch, status: int | None) -> Measurement:
    """Nothing is left of a launch that was asked to stop; the same command again completes the stage."""
    found = launch.wait()
    left, records = bench.processes(), bench.attempts()
    assert found == status if status is not None else found != 0, f"exit status {found}:\n{launch.text}"
    assert not left, f"{len(left)} processes outlived it: {left}"
    ends = [record.end for record in records]
    assert ends == ["interrupted"], f"the attempts ended {ends_of(records)}; it said:\n{launch.text}"
    assert "Traceback" not in launch.text, f"it ended with a traceback:\n{launch.text}"
    assert "run the same command again to resume after epoch 1" in launch.text.lower(), launch.text
    _succeeds(bench.ended(*_argv(launch)))
    records = bench.attempts()
    assert [record.end for record in records] == ["interrupted", "done"], ends_of(records)
    assert bench.complete(), "train.json does not tell of the last epoch"
    noticed_s = _ended_after(bench, "asked-to-stop")
    return Measurement(
        noticed_s, "interrupted", f"exit status {found}; {next_attempt(records[-1])}", "completes"
    )


def _argv(launch: Launch) -> list[str]:
    _, _, *argv = launch.process.args  # type: ignore[misc]  # ours is a list: python -m ...
    return argv


def _at_supervisor(bench: Bench, signum: signal.Signals) -> Measurement:
    launch = bench.held(*TRAIN)
    bench.injected_now("asked-to-stop")
    launch.process.send_signal(signum)
    return _stopped(bench, launch, 75)


def _at_group_of_snakemake(bench: Bench, signum: signal.Signals) -> Measurement:
    launch = bench.held(*SNAKEMAKE)
    bench.injected_now("asked-to-stop")
    os.killpg(launch.process.pid, signum)
    return _stopped(bench, launch, None)


@fault(
    "sigterm-at-supervisor",
    "SIGTERM at the supervisor",
    injected="SIGTERM in epoch 2, iteration 3; the same command again",
    must="interrupted, exit status 75, no process left; the relaunch resumes, completes",
)
def sigterm_at_supervisor(bench: Bench) -> Measurement:
    return _at_supervisor(bench, signal.SIGTERM)


@fault(
    "sigint-at-supervisor",
    "SIGINT at the supervisor",
    injected="SIGINT in epoch 2, iteration 3; the same command again",
    must="interrupted, exit status 75, no process left; the relaunch resumes, completes",
)
def sigint_at_supervisor(bench: Bench) -> Measurement:
    return _at_supervisor(bench, signal.SIGINT)


@fault(
    "sigint-at-snakemake",
    "SIGINT at Snakemake, as a terminal's Ctrl-C",
    injected="SIGINT to Snakemake's process group in epoch 2, iteration 3; `snakemake` again",
    must="interrupted, no process left; the relaunch resumes, completes",
)
def sigint_at_snakemake(bench: Bench) -> Measurement:
    return _at_group_of_snakemake(bench, signal.SIGINT)


@fault(
    "sigterm-at-group-of-snakemake",
    "SIGTERM at Snakemake and its jobs, as systemd or Slurm send it",
    injected="SIGTERM to Snakemake's process group in epoch 2, iteration 3; `snakemake` again",
    must="interrupted, no process left; the relaunch resumes, completes",
)
def sigterm_at_group_of_snakemake(bench: Bench) -> Measurement:
    return _at_group_of_snakemake(bench, signal.SIGTERM)


@fault(
    "sigterm-at-snakemake",
    "SIGTERM at Snakemake alone",
    injected="SIGTERM to Snakemake alone in epoch 2, iteration 3; `snakemake` again",
    must="Snakemake lets the training end, starts nothing more; no process left; the relaunch trains nothing",
)
def sigterm_at_snakemake(bench: Bench) -> Measurement:
    launch = bench.held(*SNAKEMAKE)
    bench.injected_now("asked-to-stop")
    launch.process.send_signal(signal.SIGTERM)
    noticed_s = bench.said_at(launch, "Will exit after finishing currently running jobs")
    bench.go_on()
    status = launch.wait()
    assert not bench.processes(), f"processes outlived it: {bench.processes()}"
    _one_training(bench, "after the SIGTERM")
    assert not bench.promoted.exists(), f"Snakemake promoted anyway:\n{launch.text}"
    _succeeds(bench.snakemake())
    _one_training(bench, "after the relaunch")
    _handed_on(bench)
    noticed_s -= next(moment["at_s"] for moment in bench.moments() if moment["kind"] == "asked-to-stop")
    return Measurement(noticed_s, "done", f"exit status {status}; the relaunch trains nothing", "completes")


# ---------------------------------------------------------------------- started twice


@fault(
    "double-start",
    "double starts of the supervisor",
    injected=f"two `trainrelay train` that wait for the same moment of the clock, {ROUNDS} times, every other"
    " time inside an allocation",
    must="never two trainers, by their own start stamps; the loser follows, or is refused in an allocation",
)
def double_start(bench: Bench) -> Measurement:
    _toy_interpreter(bench)
    bench.injected_now("double-start")
    driver = bench.start("injected.injected_double_start", str(ROUNDS), *TRAIN[1:])
    _succeeds(driver)
    rounds = [json.loads(line) for _, line in driver.lines if line.startswith("{")]
    assert len(rounds) == ROUNDS, f"{len(rounds)} rounds were played:\n{driver.text}"
    late = [one for one in rounds if _came_late(one)]
    assert len(late) <= ROUNDS // 10, f"in {len(late)} of {ROUNDS} rounds the second start came too late"
    refused_s = [_one_won(number, one) for number, one in enumerate(rounds)]
    apart_ms = statistics.median(one["apart_s"] for one in rounds) * 1000
    wins = sum(_winner(one) == 0 for one in rounds)
    said = f"{ROUNDS} winners, {ROUNDS} losers; {apart_ms:.3f} ms apart (median); the first one won {wins}"
    return Measurement(max(refused_s), "done", said, "completes")


def _winner(seen: dict[str, Any]) -> int:
    return next(one for one in (0, 1) if "attempt 1 (gloo" in seen["said"][one])


def _came_late(seen: dict[str, Any]) -> bool:
    """Whether the winner was done when the loser looked: no race, on a machine that was busy just then."""
    winner = _winner(seen)
    said, pid = seen["said"][1 - winner], seen["pids"][winner]
    return "trains nothing" in said and f"(pid {pid}" not in said


def _one_won(number: int, seen: dict[str, Any]) -> float:
    """Checks a round; how long its loser took where it was refused, else 0."""
    what = f"round {number}: {json.dumps(seen)}"
    assert seen["trainers"] == 1, f"{seen['trainers']} trainers; {what}"
    winner = _winner(seen)
    said, pid, status = seen["said"][1 - winner], seen["pids"][winner], seen["statuses"][1 - winner]
    assert seen["statuses"][winner] == 0, f"the winner did not complete; {what}"
    if _came_late(seen):
        return 0.0
    assert f"(pid {pid}" in said, f"the loser does not name the winner; {what}"
    assert "Traceback" not in "".join(seen["said"]), what
    if number % 2 == 0:
        assert re.search(FOLLOWS_SUPERVISOR, said), f"the loser does not follow; {what}"
        assert status == 0, f"the loser ended with exit status {status}; {what}"
        return 0.0
    assert said.count("\n") == 1, f"the loser says more than a sentence; {what}"
    assert "is training already" in said, f"the loser was not refused; {what}"
    assert status == 2, f"the loser ended with exit status {status}; {what}"
    return float(seen["took_s"][1 - winner])


def _toy_interpreter(bench: Bench) -> None:
    """The trainer's interpreter becomes a toy that trains three epochs in no time."""
    toy = bench.plan.with_name("injected_toy.py")
    toy.chmod(0o755)
    _templates(toy.with_name("templates"))

    def change(data: dict[str, Any]) -> None:
        data["runs"]["driving"]["trainer"]["interpreter"] = str(toy)

    bench.project.configure(change)


def _templates(folder: Path) -> None:
    folder.mkdir()
    for epoch in range(1, EPOCHS + 1):
        state = {"head.weight": torch.full((2, 2), float(epoch))}
        optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        meta = {"epoch": epoch, "iter": epoch}
        torch.save({"meta": meta, "state_dict": state, "optimizer": optimizer}, folder / f"epoch_{epoch}.pth")
