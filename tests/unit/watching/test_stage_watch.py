"""One stage watched over its files: live or silent, its log as it grows, damaged files."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from support.stage_on_disk import OnDisk
from trainrelay.records import AttemptRecord, Place
from trainrelay.supervise.lease.claim import Beat, Claim
from trainrelay.supervise.lease.folder import add_claim, write_beat
from trainrelay.system.files import read_record, write_json
from trainrelay.trainers.metriclogger import MetricLogger
from trainrelay.trainers.mmcv import Mmcv
from trainrelay.training.context import StageContext
from trainrelay.watching import StageWatch, remarks
from trainrelay.watching import stage as stage_module
from trainrelay.watching.stage import LogSampler

OWNER = "a" * 32


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    """A stage whose one attempt is open on another host."""
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    disk.checkpoint.unlink()
    there = {"host": "node7", "place": Place(host="node7")}
    disk.change(end=None, ended_s=None, **there, ladder=("nccl", "gloo"), final_checkpoint=None)
    return disk


def claim(disk: OnDisk, host: str = "node7") -> None:
    place = Place(host=host, machine="m", boot="b", pid_namespace="4026531836")
    (disk.paths.supervision / "lease").mkdir(parents=True)
    first = Claim(token=1, owner=OWNER, place=place, pid=7, started_ticks=1, beat_s=10, since_s=1)
    assert add_claim(disk.paths.supervision / "lease", first)


def beat(disk: OnDisk, counter: int, released: bool = False) -> None:
    lease = disk.paths.supervision / "lease"
    write_beat(lease, 1, Beat(owner=OWNER, counter=counter, began=True, released=released))


def watch(disk: OnDisk, clock: Clock) -> StageWatch:
    return StageWatch(StageContext(disk.config(), "r", "s"), clock=clock, now=lambda: 0.0)


def test_an_attempt_of_another_host_is_live_only_while_its_beat_moves(disk: OnDisk) -> None:
    """Not known at first; live; silent, with this observer's own seconds; live again."""
    clock = Clock()
    claim(disk)
    beat(disk, 1)
    watched = watch(disk, clock)
    labels = [(watched.look().state, watched.look().supervisor_lives)]
    clock.now_s += 10
    beat(disk, 2)
    labels.append((watched.look().state, watched.look().supervisor_lives))
    for _ in range(3):
        clock.now_s += 10
        silent = watched.look()
    labels.append((silent.state, silent.supervisor_lives))
    assert silent.silent_s == 30
    beat(disk, 3)
    back = watched.look()
    labels.append((back.state, back.supervisor_lives))
    assert labels == [("running?", None), ("running", True), ("silent", False), ("running", True)]
    assert back.silent_s is None


def test_an_open_attempt_that_nobody_holds_a_lease_for_is_not_called_running(disk: OnDisk) -> None:
    assert watch(disk, Clock()).look().state == "running?"
    claim(disk)
    beat(disk, 1, released=True)
    assert watch(disk, Clock()).look().state == "running?"


def test_a_supervisor_at_work_without_a_trainer_is_seen(disk: OnDisk) -> None:
    """The lease moves while the attempt has ended: a probe, checks, a report."""
    clock = Clock()
    disk.change(end="comm", ended_s=3600.0)
    claim(disk)
    beat(disk, 1)
    watched = watch(disk, clock)
    assert watched.look().state == "resumable"
    beat(disk, 2)
    assert watched.look().state == "supervised"


def test_the_row_tells_place_loss_eta_and_fallback(disk: OnDisk) -> None:
    shown = watch(disk, Clock()).look()
    assert (shown.epoch, shown.epochs) == (2, 2)
    assert shown.iteration == shown.iterations_per_epoch
    assert shown.loss == shown.last_losses[-1]
    assert len(shown.last_losses) > 1
    assert (shown.backend, shown.backend_is_fallback_from) == ("gloo", "nccl")
    assert "r/s: gloo is a fallback from nccl" in list(remarks([shown]))


def test_what_an_attempt_lost_is_read_from_its_log_where_its_record_does_not_tell(disk: OnDisk) -> None:
    """Its supervisor died; the next attempt begins anew, so all of its iterations are lost."""
    disk.change(end="lost", ended_s=3600.0, host=socket.gethostname())
    second = disk.paths.folder / "attempts/002"
    second.mkdir()
    first = read_record(disk.paths.folder / "attempts/001/attempt.json", AttemptRecord)
    assert first is not None
    write_json(second / "attempt.json", first.model_copy(update={"number": 2, "tag": "another"}))
    before = watch(disk, Clock()).look()
    one = LogSampler(disk.paths.folder / "attempts/001/trainer.log", Mmcv())
    one.look()
    assert one.step is not None
    assert one.step.iters_per_epoch is not None
    assert before.iterations_lost == one.step.iters_per_epoch + one.step.iteration


def test_damaged_files_are_told_in_the_row_and_end_no_view(disk: OnDisk) -> None:
    (disk.paths.folder / "attempts/001/attempt.json").write_bytes(b"\xff{")
    shown = watch(disk, Clock()).look()
    assert shown.state == "unreadable"
    assert "run: trainrelay doctor r/s" in shown.reason
    assert shown.reason.isprintable()


def test_nothing_is_written_by_a_look(disk: OnDisk) -> None:
    claim(disk)
    before = sorted(disk.base.rglob("*"))
    watch(disk, Clock()).look()
    assert sorted(disk.base.rglob("*")) == before


LINE = "2022-06-19 13:40:00,011 - mmdet - INFO - Epoch [1][{}/900]\tlr: 1e-4, eta: 0:00:09, loss: {}\n"


def test_a_log_is_read_on_from_where_the_last_look_ended(tmp_path: Path) -> None:
    log = tmp_path / "trainer.log"
    samples = LogSampler(log, Mmcv(), Clock())
    samples.look()
    assert samples.step is None
    log.write_text(LINE.format(1, 5.0) + LINE.format(2, 4.0)[:30])
    samples.look()
    assert list(samples.losses) == [5.0]
    with log.open("a") as file:
        file.write(LINE.format(2, 4.0)[30:])
    samples.look()
    assert list(samples.losses) == [5.0, 4.0]
    samples.close()


def test_of_a_long_log_the_end_alone_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "_FIRST_READ_BYTES", 250)
    log = tmp_path / "trainer.log"
    log.write_text("".join(LINE.format(number, number) for number in range(1, 500)))
    samples = LogSampler(log, Mmcv(), Clock())
    samples.look()
    assert list(samples.losses) == [498.0, 499.0]


def test_speed_is_measured_between_looks_alone(tmp_path: Path) -> None:
    """What was there at the first look came at times that nobody saw."""
    log, clock = tmp_path / "trainer.log", Clock()
    log.write_text("".join(LINE.format(number, 1.0) for number in range(1, 100)))
    samples = LogSampler(log, Mmcv(), clock)
    samples.look()
    assert samples.iterations_per_s is None
    clock.now_s += 10
    with log.open("a") as file:
        file.writelines(LINE.format(number, 1.0) for number in range(100, 105))
    samples.look()
    assert samples.iterations_per_s == pytest.approx(0.5)


def test_hostile_log_text_breaks_nothing(tmp_path: Path) -> None:
    log = tmp_path / "trainer.log"
    hostile = b"\x1b[2J\xff" * 100_000 + b"\n" + b"Epoch [" + b"9" * 5000 + b"][1/2]\tloss: 1\n"
    log.write_bytes(hostile + LINE.format(3, "nan").encode())
    samples = LogSampler(log, Mmcv(), Clock())
    samples.look()
    assert samples.step is not None
    assert samples.step.iteration == 3


def test_a_view_goes_on_over_truncations_false_lines_and_bars(tmp_path: Path) -> None:
    """What one look shows is corrected by the next ones."""
    log = tmp_path / "trainer.log"
    log.write_text(LINE.format(1, 5.0) + LINE.replace("Epoch [1]", "Epoch [20]").format(900, 7.0))
    samples = LogSampler(log, Mmcv(), Clock())
    samples.look()
    assert samples.step is not None
    assert samples.step.epoch == 1
    log.write_text(LINE.format(2, 4.0))
    samples.look()
    assert list(samples.losses) == [5.0, 4.0]
    samples.close()


def test_a_view_shows_a_bar_that_ends_no_line(tmp_path: Path) -> None:
    log = tmp_path / "trainer.log"
    samples = LogSampler(log, MetricLogger(), Clock())
    for done in (1, 2):
        with log.open("a") as file:
            file.write(f"\rEpoch 0: {10 * done:3d}%|#  | {done}/10 [00:01<00:09,  1.00it/s, loss={done}]")
        samples.look()
        assert samples.step is not None
        assert samples.step.iteration == done
    assert list(samples.losses) == [1.0, 2.0]
    samples.close()


def telemetry(folder: Path, **said: int) -> None:
    """What one rank counted after 3 steps."""
    report = {"format": 1, "rank": 0, "host": "node1", "at_s": 1.8e9, "steps": 3, "batches": 3, "waiting": 0}
    report |= {"passes": 1, "iteration": 3, "iterations": 10, "step_s": 0.5, "data_s": 0.06}
    line = {"at_s": 1.8e9, "ranks": [{**report, "memory_bytes": 10**9, **said}]}
    (folder / "telemetry.jsonl").write_text(json.dumps(line) + "\n")


def test_a_log_that_cannot_be_read_leaves_what_the_ranks_count(disk: OnDisk) -> None:
    """Place, time left and a remark; where the log is understood, the log's."""
    clock, folder = Clock(), disk.paths.folder / "attempts/001"
    claim(disk)
    beat(disk, 1)
    disk.change(last_epoch=None, last_iteration=None)
    telemetry(folder)
    (folder / "trainer.log").write_text("step 1 ce 3\n")
    watched = watch(disk, clock)
    watched.look()
    beat(disk, 2)
    row = watched.look()
    assert (row.epoch, row.iteration, row.iterations_per_epoch) == (1, 3, 10)
    assert row.epochs is not None
    assert row.eta_s == pytest.approx((row.epochs * 10 - 3) * 0.5)
    assert f"{row.name}: step 3, 0.5 s per step, data 12 %" in list(remarks([row]))
    assert row.as_json()["counted"] == "step 3, 0.5 s per step, data 12 %"


def test_one_look_has_speed_and_time_left_by_what_the_ranks_count(disk: OnDisk) -> None:
    """The trainer prints neither, and of two looks at its log there is only one."""
    folder = disk.paths.folder / "attempts/001"
    telemetry(folder, passes=0, iteration=0, iterations=0, batches=0)
    line = "epoch 0 step {}/10 loss 0.5\n"
    (folder / "trainer.log").write_text("".join(line.format(number) for number in range(1, 5)))
    script = {"command": "{launcher} {entry} --epochs {epochs}", "backend": "--backend {backend}"}
    config = disk.config(trainer={"kind": "script", "script": script})
    row = StageWatch(StageContext(config, "r", "s"), clock=Clock(), now=lambda: 0.0).look()
    assert (row.epoch, row.iteration, row.iterations_per_epoch) == (1, 4, 10)
    assert row.iterations_per_s == 2
    assert row.epochs is not None
    assert row.eta_s == (row.epochs * 10 - 4) * 0.5
