"""`trainrelay train` after an owner of another host fell silent: it may still live, and may still write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.stage_on_disk import OnDisk
from trainrelay.config import stage_paths
from trainrelay.errors import Fenced, Refusal
from trainrelay.operations import train
from trainrelay.records import AttemptRecord, Decision, Identity, Owner, Place, Processes
from trainrelay.supervise import StageJob
from trainrelay.supervise.lease.claim import Beat, Claim
from trainrelay.supervise.lease.folder import add_claim, highest, write_beat
from trainrelay.system.alive import TAG_VARIABLE, here
from trainrelay.system.files import read_record, write_json
from trainrelay.training.attempts import PROCESSES
from trainrelay.training.context import StageContext
from trainrelay.training.state import read

pytestmark = pytest.mark.process


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[StageJob]:
    jobs: list[StageJob] = []

    def start(job: StageJob, *_: Any) -> None:
        jobs.append(job)
        raise InterruptedError

    monkeypatch.setattr(train.supervise, "train", start)
    return jobs


def silent_owner(disk: OnDisk, *, released: bool = False) -> None:
    folder = disk.paths.supervision / "lease"
    folder.mkdir(parents=True)
    place = Place(host="node9", machine="m", boot="b", pid_namespace="1")
    claim = Claim(token=1, owner="c" * 32, place=place, pid=7, started_ticks=1, beat_s=0.05, since_s=1e9)
    assert add_claim(folder, claim)
    write_beat(folder, 1, Beat(owner=claim.owner, counter=5, began=True, released=released))


def trained_one_epoch_on(disk: OnDisk, host: str) -> None:
    disk.train(log={"epochs": 1})
    record = disk.paths.folder / "attempts/001/attempt.json"
    found = read_record(record, AttemptRecord)
    assert found is not None
    there = {"host": host, "place": Place(host=host)}
    left_open = {"end": None, "ended_s": None, **there, "epochs": 1, "final_checkpoint": None}
    record.write_text(found.model_copy(update=left_open).model_dump_json())
    disk.checkpoint.rename(disk.checkpoint.with_name("epoch_1.pth"))


def launched(disk: OnDisk) -> None:
    with pytest.raises(InterruptedError):
        train.train_stage(StageContext(disk.config(), "r", "s"))


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


def test_it_writes_to_a_work_dir_of_its_own_and_reads_the_old_one(
    disk: OnDisk, started: list[StageJob]
) -> None:
    trained_one_epoch_on(disk, "node9")
    silent_owner(disk)
    launched(disk)
    old = disk.paths.work_dir
    assert started[0].work_dirs.current == old.with_name("work_dir.taken-2")
    assert started[0].request.work_dir == str(old.with_name("work_dir.taken-2"))
    assert started[0].checkpoints() == [(1, old / "epoch_1.pth")]
    owners = [read_record(folder / "owner.json", Owner) for folder in started[0].work_dirs.all]
    identity = read_record(disk.paths.identity, Identity)
    assert identity
    assert [one and one.id for one in owners] == [identity.owner, identity.owner]
    assert read(StageContext(disk.config(), "r", "s")).attempts[0].end == "lost"


def test_nothing_is_taken_over_while_the_trainer_of_a_container_can_be_seen_from_here(
    disk: OnDisk, started: list[StageJob]
) -> None:
    """Its pids are given in another pid namespace, but its environment shows; the lease stays as it is."""
    trained_one_epoch_on(disk, "node9")
    silent_owner(disk)
    place = here().model_copy(update={"pid_namespace": "1"})
    (record,) = read(StageContext(disk.config(), "r", "s")).attempts
    attempt = disk.paths.folder / "attempts/001"
    write_json(attempt / "attempt.json", record.model_copy(update={"place": place, "supervisor_ticks": 1}))
    write_json(attempt / PROCESSES, Processes(tag="of r/s", place=place, known=((os.getpid(), 1),)))
    argv = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env={TAG_VARIABLE: "of r/s"}) as trainer:
        with pytest.raises(Refusal, match=rf"\(pid {trainer.pid}\).* run: kill {trainer.pid}\b"):
            train.train_stage(StageContext(disk.config(), "r", "s"))
        assert trainer.stdin
        trainer.stdin.close()
    assert highest(disk.paths.supervision / "lease") == 1
    assert read(StageContext(disk.config(), "r", "s")).attempts[0].end is None
    launched(disk)


def test_a_later_launch_goes_on_in_that_work_dir(disk: OnDisk, started: list[StageJob]) -> None:
    trained_one_epoch_on(disk, "node9")
    silent_owner(disk)
    launched(disk)
    launched(disk)
    assert started[0].work_dirs == started[1].work_dirs
    (disk.paths.work_dir / "epoch_2.pth").write_bytes(b"of the old owner, who came back")
    assert [epoch for epoch, _ in read(StageContext(disk.config(), "r", "s")).checkpoints] == [1]


def test_an_owner_that_released_its_lease_leaves_its_work_dir_to_the_next(
    disk: OnDisk, started: list[StageJob]
) -> None:
    trained_one_epoch_on(disk, "node9")
    silent_owner(disk, released=True)
    launched(disk)
    assert started[0].work_dirs.current == disk.paths.work_dir


def test_a_first_training_taken_over_has_a_work_dir_of_its_own(disk: OnDisk, started: list[StageJob]) -> None:
    silent_owner(disk)
    launched(disk)
    identity = read_record(stage_paths(disk.config(), "r", "s").identity, Identity)
    assert identity is not None
    assert [(one.token, one.after_epoch) for one in identity.takeovers] == [(2, 0)]
    assert started[0].work_dirs.current.name == "work_dir.taken-2"


def test_a_changed_training_is_set_aside_with_all_its_work_dirs(
    disk: OnDisk, started: list[StageJob]
) -> None:
    trained_one_epoch_on(disk, "node9")
    silent_owner(disk)
    launched(disk)
    (started[0].work_dirs.current / "epoch_2.pth").write_bytes(b"weights")
    with pytest.raises(InterruptedError):
        train.train_stage(StageContext(disk.config(guard_gpu_h=1e9, seed=7), "r", "s"))
    assert started[1].checkpoints() == []
    aside = disk.paths.folder.with_name("s.old-1")
    assert (aside / "work_dir/epoch_1.pth").exists()
    assert (aside / "work_dir.taken-2/epoch_2.pth").exists()


def test_who_lost_the_lease_while_it_trained_writes_nothing_more(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another supervisor's claim came in between; the end of the training is its own matter now."""

    def train_and_lose(_job: StageJob, _console: Any, lease: Any) -> AttemptRecord:
        disk.train()
        attempt = read(StageContext(disk.config(), "r", "s")).attempts[0]
        folder = disk.paths.supervision / "lease"
        place = Place(host="node9", machine="m", boot="b", pid_namespace="1")
        assert add_claim(
            folder,
            Claim(
                token=lease.token + 1,
                owner="d" * 32,
                place=place,
                pid=7,
                started_ticks=1,
                beat_s=10.0,
                since_s=1e9,
            ),
        )
        return attempt.model_copy(update={"decision": Decision(step="done")})

    monkeypatch.setattr(train.supervise, "train", train_and_lose)
    with pytest.raises(Fenced):
        train.train_stage(StageContext(disk.config(), "r", "s"))
    assert not disk.paths.train.exists()
