"""Owners of the lease on another host: dead, without a beat, suspended, alive, with another clock.

The other host is a process of this machine that gets another host name (injected/injected_host.py): to
every rule of the lease it is as far away as any.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from pathlib import Path

from faults.bench import EPOCHS, IN_ALLOCATION, STAGE, TRAIN, Bench, ends_of, next_attempt
from faults.fault import Measurement, fault
from faults.launch import Launch
from support.supervising import carrying
from trainrelay.supervise.lease.claim import Beat
from trainrelay.supervise.lease.folder import parsed_beat, read_beat, write_beat
from trainrelay.supervise.lease.rules import NOTICE_BEATS, STALE_BEATS

BEAT_S = 3.0
AHEAD_S = 600.0
TAKES_OVER = "took the lease over from the supervisor on node9 "
MUST_TAKE = (
    "takes over once the owner's beat has stopped, in its own work dir, from the old checkpoint; completes"
)


def _on_node9(beat_s: float = BEAT_S, ahead_s: float = 0.0) -> tuple[str, ...]:
    return ("injected.injected_host", "node9", str(beat_s), str(ahead_s), *TRAIN[1:])


def _host_dies(bench: Bench, owner: Launch) -> None:
    """Everything that runs on node9, and so everything of this row, is gone in a moment."""
    bench.injected_now("host-dead")
    for pid in bench.processes():
        os.kill(pid, signal.SIGKILL)
    bench.wait_for("the end of all processes", lambda: not bench.processes())
    owner.wait()


def _lease(bench: Bench) -> Path:
    return bench.stage.parent / f".{bench.stage.name}" / "lease"


def _refused(bench: Bench, **env: str) -> float:
    """A start that holds GPUs is refused in a sentence beside a living owner; after how long."""
    launch = bench.ended(*TRAIN, **IN_ALLOCATION, **env)
    text = f"it said:\n{launch.text}"
    assert launch.process.returncode == 2, f"exit status {launch.process.returncode}; {text}"
    pid, last = bench.attempts()[0].supervisor_pid, launch.text.strip().splitlines()[-1]
    said = rf"trainrelay: {STAGE} is training already: the supervisor on node9 \(pid {pid}\b.* changes;"
    assert re.match(said, last), f"its last line does not name the owner and why it lives; {text}"
    assert last.endswith(f"trainrelay stop {STAGE}"), f"its last line does not say what to run; {text}"
    assert not re.search(TAKES_OVER, launch.text), text
    assert len(bench.attempts()) == 1, ends_of(bench.attempts())
    return launch.said_at("is training already") - launch.started_s


def _taken_over(bench: Bench, launch: Launch, beat_s: float = BEAT_S) -> Measurement:
    """The stage is complete, in the work dir that the takeover began, from the old one's checkpoint."""
    assert launch.wait() == 0, f"exit status {launch.process.returncode}; it said:\n{launch.text}"
    noticed_s = launch.said_at(TAKES_OVER) - launch.started_s
    began_s = launch.said_at("attempt 2 ") - launch.started_s
    watched_s, notice_s = STALE_BEATS * beat_s, NOTICE_BEATS * beat_s
    assert noticed_s >= watched_s, f"the owner was watched for {noticed_s:g} s, not {watched_s:g} s"
    assert began_s >= watched_s + notice_s, (
        f"an owner that stopped beating had no {notice_s:g} s to notice: {began_s:g} s"
    )
    _resumed_apart(bench)
    last = bench.attempts()[-1]
    return Measurement(noticed_s, "lost", f"{next_attempt(last)} in its own work dir", "completes")


def _resumed_apart(bench: Bench) -> None:
    records, own = bench.attempts(), bench.stage / "work_dir.taken-2"
    assert [record.end for record in records] == ["lost", "done"], ends_of(records)
    point = records[1].resumed_from
    assert point is not None, "attempt 2 starts from the beginning"
    assert Path(point.path) == bench.work_dir / "epoch_1.pth", f"attempt 2 resumes from {point.path}"
    assert str(own) in records[1].argv, f"attempt 2 does not write to {own}: {records[1].argv}"
    assert (own / f"epoch_{EPOCHS}.pth").exists(), f"there is no last checkpoint in {own}"
    assert bench.complete(), "train.json does not tell of the last epoch"


# ---------------------------------------------------------------------- dead or alive


@fault(
    "stale-lease",
    "stale lease of a dead host",
    injected=f"node9 dies in epoch 2, iteration 3, its supervisor (a beat per {BEAT_S:g} s) and its trainer"
    " with it; `snakemake` here",
    must=MUST_TAKE,
)
def stale_lease(bench: Bench) -> Measurement:
    _host_dies(bench, bench.held(*_on_node9()))
    seen = _taken_over(bench, bench.snakemake())
    last = bench.stage / f"work_dir.taken-2/epoch_{EPOCHS}.pth"
    assert bench.promoted.read_bytes() == last.read_bytes(), f"{bench.promoted} is not {last}"
    return seen


@fault(
    "living-owner",
    "lease of a host that still beats",
    injected="a second start beside a supervisor on node9, inside an allocation and outside",
    must="refused inside an allocation, follows outside; one training, completes",
)
def living_owner(bench: Bench) -> Measurement:
    owner = bench.held(*_on_node9())
    bench.injected_now("second-start")
    refused_s = _refused(bench)
    follower = bench.start(*TRAIN)
    bench.said_at(follower, "trains it already, so this start follows it")
    bench.go_on()
    for launch in (owner, follower):
        assert launch.wait() == 0, f"exit status {launch.process.returncode}; it said:\n{launch.text}"
    ends = [record.end for record in bench.attempts()]
    assert ends == ["done"], f"the attempts ended {ends_of(bench.attempts())}"
    assert bench.complete(), "train.json does not tell of the last epoch"
    return Measurement(refused_s, "done", "refused; outside an allocation it follows the owner", "completes")


def _other_clock(bench: Bench, ahead_s: float) -> Measurement:
    owner = bench.held(*_on_node9(ahead_s=ahead_s))
    _shift_file_times(bench, ahead_s)
    _refused(bench)
    _host_dies(bench, owner)
    _shift_file_times(bench, ahead_s)
    return _taken_over(bench, bench.train())


def _shift_file_times(bench: Bench, ahead_s: float) -> None:
    """As that host's clock would have written them."""
    at_s = time.time() + ahead_s
    for path in (*_lease(bench).iterdir(), *bench.stage.rglob("*")):
        if path.is_file() and not path.name.endswith(".tmp"):
            os.utime(path, (at_s, at_s))


@fault(
    "clock-ahead",
    "another clock, 10 minutes ahead",
    injected="node9's clock and the times of its files are 600 s ahead; a second start; then node9 dies",
    must=f"refused while the owner beats; then {MUST_TAKE}",
)
def clock_ahead(bench: Bench) -> Measurement:
    return _other_clock(bench, AHEAD_S)


@fault(
    "clock-behind",
    "another clock, 10 minutes behind",
    injected="node9's clock and the times of its files are 600 s behind; a second start; then node9 dies",
    must=f"refused while the owner beats; then {MUST_TAKE}",
)
def clock_behind(bench: Bench) -> Measurement:
    return _other_clock(bench, -AHEAD_S)


@fault(
    "released-elsewhere",
    "an attempt left open on another host, its lease given back",
    injected="node9 dies in epoch 2, iteration 3, the last beat of its lease says released",
    must="lost; resumes at once in the same work dir, completes",
)
def released_elsewhere(bench: Bench) -> Measurement:
    _host_dies(bench, bench.held(*_on_node9()))
    beat = parsed_beat(read_beat(_lease(bench), 1))
    assert beat is not None, "node9's supervisor never beat"
    released = Beat(owner=beat.owner, counter=beat.counter + 1, began=beat.began, released=True)
    write_beat(_lease(bench), 1, released)
    launch, records = bench.train(), bench.attempts()
    assert launch.process.returncode == 0, launch.text
    assert [record.end for record in records] == ["lost", "done"], ends_of(records)
    assert not re.search(f"{TAKES_OVER}|holds the lease", launch.text), f"it waited:\n{launch.text}"
    assert str(bench.work_dir) in records[1].argv, f"attempt 2 writes elsewhere: {records[1].argv}"
    assert bench.complete(), "train.json does not tell of the last epoch"
    noticed_s = launch.said_at("attempt 1 is lost") - launch.started_s
    return Measurement(noticed_s, "lost", next_attempt(records[1]), "completes")


# ---------------------------------------------------------------------- suspended


@fault(
    "suspended-owner-returns",
    "suspended owner returns",
    injected="SIGSTOP to node9's supervisor alone; a start here takes over; node9's trainer writes epoch 2;"
    " SIGCONT",
    must="fenced: exit status 75, its trainer ended, nothing written outside its old work dir; the new one"
    " completes from what was there when it took over",
)
def suspended_owner_returns(bench: Bench) -> Measurement:
    owner, taker = suspended(bench)
    assert (bench.work_dir / "epoch_2.pth").exists(), "the old trainer saved no epoch 2 after the takeover"
    return returned(bench, owner, taker)


def suspended(bench: Bench) -> tuple[Launch, Launch]:
    """The owner, whose trainer trains on and is held in epoch 3, and a start that took over in epoch 2."""
    # The second trainer is held in epoch 2; the first one, when it has continued, in epoch 3.
    owner = bench.held(*_on_node9(), later=((2, 4), (3, 1)))
    owner.process.send_signal(signal.SIGSTOP)
    bench.injected_now("owner-suspended")
    bench.apart = {bench.attempts()[0].tag}
    taker = bench.start(*TRAIN)
    _wait_for_held(bench, taker, 2)
    bench.go_on(2, 3)
    _wait_for_held(bench, taker, 3)
    return owner, taker


def returned(bench: Bench, owner: Launch, taker: Launch) -> Measurement:
    """The owner continues and ends, and what took over completes the stage."""
    returned_s = _returns(bench, owner)
    bench.go_on(2, 4)
    seen = _taken_over(bench, taker)
    return Measurement(returned_s, "lost", f"exit status 75; {seen.next_step}", "completes")


def _wait_for_held(bench: Bench, launch: Launch, count: int) -> None:
    bench.wait_for("trainers that are held", lambda: launch.ended or len(bench.stamps().of("fired")) == count)
    assert not launch.ended, f"it ended with exit status {launch.process.returncode}:\n{launch.text}"


def _returns(bench: Bench, owner: Launch) -> float:
    """The suspended owner continues, notices, ends its trainer, writes nothing; after how long it is gone."""
    before = _written(bench)
    bench.injected_now("owner-returns")
    at_s = time.time()
    owner.process.send_signal(signal.SIGCONT)
    status = owner.wait()
    gone_s = time.time() - at_s
    changed = {name for name, _ in before.items() ^ _written(bench).items()}
    assert not changed, f"after it returned, these files changed: {sorted(changed)}"
    assert not carrying(next(iter(bench.apart))), "its trainer lives on"
    assert status == 75, f"it ended with exit status {status}:\n{owner.text}"
    last = owner.text.strip().splitlines()[-1]
    assert re.match(rf"trainrelay: {STAGE}: the supervisor on .* took this stage over", last), owner.text
    assert "Traceback" not in owner.text, owner.text
    return gone_s


def _written(bench: Bench) -> dict[str, tuple[int, str]]:
    """Every file of the run but the old work dir's and the new owner's beat: when it changed, its digest.

    The old trainer's log is left out, too: it is the trainer's. What the new one counts is its own, and so
    is its list of processes, which it writes again once a worker comes or goes.
    """
    ours = (path for path in bench.stage.parent.rglob("*") if path.is_file())
    attempts = bench.stage / "attempts"
    counted = (attempts / f"002/{name}" for name in ("telemetry.jsonl", "hook", "processes.json"))
    skipped = (bench.work_dir, _lease(bench) / "000002.beat", attempts / "001/trainer.log", *counted)
    kept = [path for path in ours if not any(path.is_relative_to(skip) for skip in skipped)]
    return {
        str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in kept
        if path.suffix != ".tmp"
    }


# ---------------------------------------------------------------------- Slurm


def _commands(bench: Bench, does: str) -> dict[str, str]:
    """A PATH on which Slurm's commands do something."""
    folder = bench.folder / "slurm commands"
    folder.mkdir()
    for name in ("squeue", "sacct"):
        (folder / name).write_text(f"#!/bin/sh\necho x >>'{folder}/asked'\n{does}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def _without_slurm(bench: Bench, does: str, beat_s: float) -> Measurement:
    path = _commands(bench, does)
    owner = bench.held(*_on_node9(beat_s), SLURM_JOB_ID="4242")
    _refused(bench, **path)
    _host_dies(bench, owner)
    seen = _taken_over(bench, bench.ended(*TRAIN, **path), beat_s)
    assert (bench.folder / "slurm commands/asked").exists(), "Slurm was never asked"
    return seen


@fault(
    "slurm-fails",
    "stale lease, and Slurm cannot be asked",
    injected="the dead owner's claim names a Slurm job; squeue and sacct end with exit status 1",
    must=f"refused while the owner beats; then {MUST_TAKE}",
)
def slurm_fails(bench: Bench) -> Measurement:
    does = "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
    return _without_slurm(bench, does, BEAT_S)


@fault(
    "slurm-hangs",
    "stale lease, and Slurm does not answer",
    injected="the dead owner's claim names a Slurm job; squeue and sacct never end; a beat per 10 s",
    must=f"refused while the owner beats; then {MUST_TAKE}",
)
def slurm_hangs(bench: Bench) -> Measurement:
    return _without_slurm(bench, "exec sleep 100000", 10.0)
