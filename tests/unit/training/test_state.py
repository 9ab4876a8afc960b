"""How a stage stands, decided from what lies on disk."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.stage_on_disk import OnDisk
from trainrelay.config import parse
from trainrelay.errors import UserError
from trainrelay.records import (
    FORMAT,
    Acceptance,
    AttemptRecord,
    CheckpointFacts,
    Decision,
    EpochBases,
    FileDigest,
    Identity,
    Place,
    TrainRecord,
)
from trainrelay.system.alive import here, stat
from trainrelay.system.files import write_json
from trainrelay.training import state
from trainrelay.training.archive import archived_trainings
from trainrelay.training.attempts import (
    attempt_log,
    held_open,
    list_attempts,
    living,
    rank_hours,
    supervisor_may_live,
)
from trainrelay.training.context import StageContext
from trainrelay.training.cost import price
from trainrelay.training.signature import UNREADABLE, signature
from trainrelay.training.work_dirs import WorkDirs

PARTS = {"world size": "8", "config: optimizer.lr": "0.0002"}


def digest(mark: str = "a") -> FileDigest:
    return FileDigest(path="x.pth", sha256=mark * 64, size=1)


def attempt(number: int = 1, **changes: Any) -> AttemptRecord:
    values: dict[str, Any] = {
        "number": number,
        "tag": f"tag-{number}",
        "host": socket.gethostname(),
        "supervisor_pid": os.getpid(),
        "place": here(),
        "supervisor_ticks": stat(os.getpid()).ticks,
        "argv": [],
        "env": {},
        "cwd": "/",
        "log": f"attempts/{number:03d}/trainer.log",
        "backend": "gloo",
        "world_size": 8,
        "epochs": 6,
        "resumed_from": None,
        "started_s": 1000.0,
        "ended_s": 4600.0,
        "end": "done",
    }
    return AttemptRecord(**{**values, **changes})


CONFIG = parse(
    {
        "runs": {
            "r": {
                "trainer": {"kind": "mmcv", "nproc_per_node": 8},
                "stages": {"s": {"config": "a.py", "epochs": 6, "work_dir": "/w", "resources": {"gpu": 8}}},
            }
        }
    }
)
FRESH = state.Facts(
    at=StageContext(CONFIG, "r", "s"),
    asked=6,
    ingredients=PARTS,
    parent=None,
    work_dirs=WorkDirs(Path("/w")),
)
IDENTITY = Identity(format=FORMAT, run="r", stage="s", ingredients=PARTS, initial_checkpoint=None)
TRAINED = replace(FRESH, identity=IDENTITY, attempts=(attempt(),), checkpoints=((6, Path("/w/epoch_6.pth")),))


def kind(facts: state.Facts) -> str:
    return state.judge(facts).kind


def test_nothing_on_disk_is_fresh() -> None:
    assert kind(FRESH) == "fresh"


def test_all_epochs_trained_is_complete() -> None:
    assert kind(TRAINED) == "complete"


def test_a_complete_training_stays_complete_when_its_checkpoint_was_cleaned_away() -> None:
    judged = state.judge(replace(TRAINED, checkpoints=()))
    assert judged.kind == "complete"
    assert judged.reason.endswith("its checkpoint of epoch 6 is gone; put it back before it is promoted")


def test_checkpoints_without_our_identity_are_foreign() -> None:
    assert kind(replace(TRAINED, identity=None, left_behind=("latest.pth",))) == "foreign"


def test_epochs_raised_goes_on_from_what_is_there() -> None:
    judged = state.judge(replace(TRAINED, asked=8))
    assert judged.kind == "resumable"
    assert judged.reason == "epochs raised from 6 to 8"


def test_epochs_lowered_to_an_epoch_that_has_its_checkpoint_is_complete() -> None:
    four = (*TRAINED.checkpoints, (4, Path("/w/epoch_4.pth")))
    assert kind(replace(TRAINED, asked=4, checkpoints=four)) == "complete"


def test_epochs_lowered_below_what_is_left_names_the_number_and_a_command_that_works() -> None:
    lowered = replace(TRAINED, asked=4)
    judged = state.judge(lowered)
    assert judged.kind == "refused"
    assert "set epochs: 6" in judged.reason
    assert "trainrelay accept r/s" in judged.reason
    taken = replace(lowered, accepted=accepted(epochs=4))
    assert state.judge(taken).kind == "complete"


def test_a_trainer_that_went_past_its_epochs_is_complete_with_a_warning() -> None:
    past = attempt(final_checkpoint=facts(7))
    judged = state.judge(replace(TRAINED, attempts=(past,), checkpoints=((7, Path("/w/checkpoint.pth")),)))
    assert judged.kind == "complete"
    assert "warning: the trainer continued to epoch 7" in judged.reason


def test_a_checkpoint_of_the_last_epoch_that_nobody_verified_is_told() -> None:
    judged = state.judge(replace(TRAINED, attempts=(attempt(end="lost"),)))
    assert judged.kind == "resumable"
    assert "6 of 6 epochs trained" in judged.reason
    assert "verified at the next start" in judged.reason


def test_a_stage_whose_supervisor_gave_up_needs_your_decision() -> None:
    """Whatever its end: the recorded decision tells, not the class of the end."""
    final = Decision(step="final", reason="3 attempts in a row saved no new checkpoint", what_to_do="check x")
    judged = state.judge(replace(TRAINED, attempts=(attempt(end="killed", decision=final),), checkpoints=()))
    assert judged.kind == "stopped"
    assert "needs your decision" in judged.reason
    assert "3 attempts in a row saved no new checkpoint; check x" in judged.reason
    again = Decision(step="again", reason="retrying")
    assert (
        kind(replace(TRAINED, attempts=(attempt(end="oom-gpu", decision=again),), checkpoints=()))
        == "resumable"
    )


def test_a_checkpoint_that_is_understood_by_now_needs_no_decision() -> None:
    """What the config says of a script's files was set since; the next start verifies it."""
    final = Decision(step="final", reason="the trainer exited 0 without a last checkpoint", what_to_do="x")
    judged = state.judge(replace(TRAINED, attempts=(attempt(end="unfinished", decision=final),)))
    assert judged.kind == "resumable"
    assert "verified at the next start" in judged.reason
    assert (
        kind(replace(TRAINED, attempts=(attempt(end="unfinished", decision=final),), checkpoints=()))
        == "stopped"
    )


def test_a_checkpoint_that_was_understood_at_the_end_as_well_needs_the_decision() -> None:
    """It was damaged then, say: that the config describes it is nothing new."""
    final = Decision(step="final", reason="3 attempts in a row saved no new checkpoint", what_to_do="x")
    last = attempt(end="unfinished", decision=final, saved_epoch=6)
    assert kind(replace(TRAINED, attempts=(last,))) == "stopped"


def test_another_learning_rate_is_a_change_and_says_which() -> None:
    judged = state.judge(replace(TRAINED, ingredients={**PARTS, "config: optimizer.lr": "0.0001"}))
    assert judged.kind == "changed"
    assert str(judged.differences[0]) == "config: optimizer.lr: 0.0002 -> 0.0001"


def test_another_initial_checkpoint_is_a_change() -> None:
    identity = IDENTITY.model_copy(update={"initial_checkpoint": digest("a")})
    assert kind(replace(TRAINED, identity=identity, parent=digest("a"))) == "complete"
    assert kind(replace(TRAINED, identity=identity, parent=digest("b"))) == "changed"


def test_a_config_that_cannot_be_read_here_is_not_taken_for_a_change() -> None:
    unreadable = {"world size": "8", UNREADABLE: "No such file"}
    assert kind(replace(TRAINED, ingredients=unreadable)) == "complete"
    assert kind(replace(TRAINED, ingredients={**unreadable, "world size": "4"})) == "changed"


def test_a_killed_training_is_resumable_and_says_where_it_stands() -> None:
    killed = attempt(end="killed", reason="rank 1 was ended by SIGKILL")
    facts = replace(TRAINED, attempts=(killed,), checkpoints=((3, Path("/w/epoch_3.pth")),))
    judged = state.judge(replace(facts, work_dirs=WorkDirs(Path("/w"), bases=EpochBases(saved=0))))
    assert judged.kind == "resumable"
    assert judged.reason == "3 of 6 epochs trained; attempt 1: killed (rank 1 was ended by SIGKILL)"
    assert state.judge(facts).reason.startswith("3 or 4 of 6 epochs trained")  # by how its trainer counts


@pytest.mark.parametrize("end", ["diverged", "oom-gpu", "disk-full", "not-resumed"])
def test_an_end_that_a_retry_does_not_cure_needs_your_decision_in_older_records(end: str) -> None:
    assert kind(replace(TRAINED, attempts=(attempt(end=end),))) == "stopped"


def test_a_change_is_noticed_before_anything_is_resumed() -> None:
    killed = replace(TRAINED, attempts=(attempt(end="killed"),), ingredients={"world size": "4"})
    assert kind(killed) == "changed"


def test_an_open_attempt_of_a_living_supervisor_is_running() -> None:
    assert kind(replace(TRAINED, attempts=(attempt(end=None, ended_s=None),), alive=True)) == "running"


def facts(epoch: int | None = 6) -> CheckpointFacts:
    return CheckpointFacts(file=digest(), epoch=epoch, iteration=9, tensors=1, parameters=1, finite=True)


def accepted(**changes: Any) -> Acceptance:
    found = facts(4)
    values = {"kind": "gate", "subject": "a" * 64, "reason": "good enough", "at_s": 5000.0, "epochs": 6}
    return Acceptance(**{**values, "checkpoint": found, **changes})


def test_a_person_may_take_an_unfinished_training_as_it_is() -> None:
    stopped = replace(TRAINED, attempts=(attempt(end="diverged"),))
    judged = state.judge(replace(stopped, accepted=accepted()))
    assert judged.kind == "complete"
    assert "good enough" in judged.reason


def test_a_word_given_for_so_many_epochs_does_not_hold_for_more() -> None:
    stopped = replace(TRAINED, attempts=(attempt(end="diverged"),), asked=8)
    assert kind(replace(stopped, accepted=accepted())) == "stopped"


def test_a_training_that_lies_elsewhere_is_neither_left_nor_overwritten() -> None:
    elsewhere = replace(TRAINED, elsewhere=WorkDirs(Path("/old dir")))
    assert kind(elsewhere) == "complete"
    judged = state.judge(replace(elsewhere, asked=8))
    assert judged.kind == "foreign"
    assert "its checkpoints are in /old dir, but work_dir is /w now" in judged.reason


def test_a_lost_attempts_folder_does_not_train_a_recorded_training_again() -> None:
    record = TrainRecord(
        run="r",
        stage="s",
        epochs=6,
        signature=signature(PARTS, 6),
        final_checkpoint=facts(),
        attempts=1,
        train_s=1.0,
        gpu_h=0.0,
        backend="gloo",
        log_files=[],
    )
    assert kind(replace(TRAINED, attempts=(), train=record)) == "complete"
    assert kind(replace(TRAINED, attempts=(), train=record, asked=7)) == "resumable"


def test_idle_days_after_a_supervisor_died_are_no_gpu_hours(tmp_path: Path) -> None:
    dead = attempt(end=None, ended_s=None, started_s=1000.0)
    log = tmp_path / "attempts/001/trainer.log"
    log.parent.mkdir(parents=True)
    log.touch()
    os.utime(log, (4600.0, 4600.0))
    assert rank_hours(dead, tmp_path) == pytest.approx(8.0)


@pytest.mark.parametrize("started_s", [6000.0, 4e9])
def test_a_word_given_before_the_newest_attempt_does_not_count_whatever_the_clocks(started_s: float) -> None:
    """One of a host whose clock is ahead, too."""
    stopped = replace(
        TRAINED, attempts=(attempt(end="killed"), attempt(2, end="diverged", started_s=started_s))
    )
    assert kind(replace(stopped, accepted=accepted(attempt=1))) == "stopped"
    assert kind(replace(stopped, accepted=accepted(attempt=2))) == "complete"
    assert kind(replace(stopped, accepted=accepted())) == "complete"


def test_an_attempt_that_a_clock_ended_before_it_began_takes_no_gpu_hours_away() -> None:
    backwards = attempt(2, ended_s=-1e6)
    facts = replace(TRAINED, attempts=(attempt(), backwards))
    assert facts.gpu_h == pytest.approx(8.0)
    assert backwards.seconds == 0
    half = {"iters_per_epoch": 100, "last_epoch": 1, "last_iteration": 100}
    assert price([attempt(ended_s=-1e6, **half)], 3, 8) is None


def test_gpu_hours_are_counted_over_all_attempts() -> None:
    assert replace(TRAINED, attempts=(attempt(), attempt(2))).gpu_h == pytest.approx(16.0)


class TestSupervisor:
    def test_ours_lives(self) -> None:
        assert supervisor_may_live(attempt(end=None))

    def test_an_ended_attempt_has_none(self) -> None:
        assert not supervisor_may_live(attempt())

    def test_a_pid_given_to_another_process_since_is_not_it(self) -> None:
        assert not supervisor_may_live(attempt(end=None, supervisor_ticks=1))

    def test_a_pid_that_is_gone_is_dead(self) -> None:
        assert not supervisor_may_live(attempt(end=None, supervisor_pid=2**22 + 1))

    def test_on_another_host_it_may_live(self) -> None:
        assert supervisor_may_live(attempt(end=None, place=Place(host="node17")))


def test_attempts_are_listed_in_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        (tmp_path / f"attempts/{number:03d}").mkdir(parents=True)
        write_json(tmp_path / f"attempts/{number:03d}/attempt.json", attempt(number))
    (tmp_path / "attempts/011").mkdir()
    assert [record.number for record in list_attempts(tmp_path)] == [1, 2, 10]


def test_a_damaged_attempt_is_named_and_nothing_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "attempts/001").mkdir(parents=True)
    (tmp_path / "attempts/001/attempt.json").write_text('{"number": 1')
    with pytest.raises(UserError, match=r"001/attempt\.json"):
        list_attempts(tmp_path)


def test_attempts_that_cannot_be_listed_are_not_taken_for_none(tmp_path: Path) -> None:
    """As where you may not read the folder; this one leads to itself, which stops root as well."""
    (tmp_path / "attempts").symlink_to("attempts")
    for look in (list_attempts, living, held_open):
        with pytest.raises(UserError, match=r"cannot list .*attempts: Too many levels"):
            look(tmp_path)


def test_archived_trainings_that_cannot_be_listed_are_not_taken_for_none(tmp_path: Path) -> None:
    disk = OnDisk(tmp_path)
    disk.paths.folder.parent.parent.mkdir()
    disk.paths.folder.parent.symlink_to(disk.paths.folder.parent.name)
    with pytest.raises(UserError, match="cannot list"):
        archived_trainings(disk.paths)


def test_a_log_is_found_after_its_folder_was_moved() -> None:
    moved = attempt_log(Path("runs/r/s.old-1"), attempt(3, log="runs/r/s/attempts/003/my.log"))
    assert moved == Path("runs/r/s.old-1/attempts/003/my.log")
