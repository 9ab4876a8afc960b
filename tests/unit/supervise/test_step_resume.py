"""Trainings that are ended within an epoch and continue at the step, the hook played at its files."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from support.attempts import an_attempt
from support.step_folders import LENGTH, write_step
from support.supervising import Alone, Steps, eventually, log_text, supervisor, toy_job
from trainrelay.errors import Refusal
from trainrelay.records import AttemptRecord
from trainrelay.supervise import StageJob, StepSaving, train
from trainrelay.supervise.attempt import wait_for_step_s
from trainrelay.supervise.attempt_folders import open_attempt
from trainrelay.supervise.decide import FINISH
from trainrelay.supervise.resume import starting_points
from trainrelay.supervise.slurm_run import SlurmStop
from trainrelay.training.attempts import list_attempts
from trainrelay.training.step_checkpoints import read_steps
from trainrelay_hook import files

SAVING = StepSaving(every_s=0.1, keep=2, failures_max=3, exact=False)
RARELY: dict[str, Any] = {"every_s": 600.0, "keep": 2, "failures_max": 3, "exact": False}
OFTEN = {**RARELY, "every_s": 0.1}


def job(folder: Path, templates: Path, habit: str = "good", **changes: Any) -> StageJob:
    return toy_job(folder, templates, habit, trainer=Steps(), **{"steps": SAVING, **changes})


def launched(one: StageJob) -> tuple[Any, list[AttemptRecord], str]:
    console = Console(record=True, width=1000, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    outcome = train(one, console, Alone())
    return outcome, list(list_attempts(one.stage_dir)), console.export_text()


def steps(one: StageJob) -> list[int]:
    return [found.manifest.step for found in read_steps(one.stage_dir)[0]]


def with_an_attempt(one: StageJob, **fields: Any) -> Path:
    """The folder of an attempt that ended."""
    (one.stage_dir / "attempts").mkdir(parents=True, exist_ok=True)
    number = len(list_attempts(one.stage_dir)) + 1
    open_attempt(one.stage_dir, an_attempt(number, end="killed", world_size=2, **fields))
    return one.stage_dir / f"attempts/{number:03d}"


def save(one: StageJob, templates: Path, epoch: int) -> Path:
    one.work_dirs.current.mkdir(exist_ok=True)
    return Path(shutil.copy(templates / f"epoch_{epoch}.pth", one.work_dirs.current))


# ---------------------------------------------------------------------- where it starts


def test_within_the_first_epoch_a_step_checkpoint_is_all_there_is(tmp_path: Path, templates: Path) -> None:
    one = job(tmp_path, templates)
    folder = write_step(with_an_attempt(one), 13)
    point, step, passed = starting_points(one)
    assert (point, passed) == (None, [])
    assert step is not None
    assert (step.path, step.step, step.epoch, step.iteration) == (str(folder), 13, 1, 13)


@pytest.mark.parametrize(("step", "chosen"), [(33, 33), (LENGTH + 1, 21), (LENGTH - 1, None)])
def test_only_one_past_the_trainers_own_is_resumed_from(
    tmp_path: Path, templates: Path, step: int, chosen: int | None
) -> None:
    one = job(tmp_path, templates)
    write_step(with_an_attempt(one), step)
    own = save(one, templates, 1)
    point, found, passed = starting_points(one)
    assert (point and point.path, found and found.step, passed) == (str(own), chosen, [])


def test_it_continues_a_training_whose_other_checkpoints_are_damaged(tmp_path: Path, templates: Path) -> None:
    one = job(tmp_path, templates)
    own = save(one, templates, 1)
    own.write_bytes(own.read_bytes()[:300])
    with pytest.raises(Refusal, match="none of the 1 checkpoints"):
        starting_points(one)
    write_step(with_an_attempt(one), 13)
    point, step, passed = starting_points(one)
    assert (point, step and step.step) == (None, 13)
    assert "epoch_1.pth" in passed[0]


def test_what_is_not_understood_is_not_trained_over_for_a_step_checkpoint(
    tmp_path: Path, templates: Path
) -> None:
    """If the hook did not attach, the trainer would begin from scratch beside it."""
    one = job(tmp_path, templates)
    write_step(with_an_attempt(one), 13)
    one.work_dirs.current.mkdir()
    (one.work_dirs.current / "epoch_1.pth.part").write_bytes(b"x")
    (one.work_dirs.current / "weights.ckpt").write_bytes(b"x")
    with pytest.raises(Refusal, match="there is no checkpoint to resume from"):
        starting_points(one)


def test_why_one_is_not_resumed_from_is_told(tmp_path: Path, templates: Path) -> None:
    one = job(tmp_path, templates)
    attempt = with_an_attempt(one)
    bad, worse = write_step(attempt, 14), write_step(attempt, 15)
    (bad / files.MODEL).write_bytes(b"another of this size"[: (bad / files.MODEL).stat().st_size].ljust(18))
    (worse / files.MANIFEST).write_text("{")
    write_step(attempt, 13)
    _, step, passed = starting_points(one)
    assert step is not None
    assert step.step == 13
    assert len(passed) == 2


# ---------------------------------------------------------------------- whole launches


@pytest.mark.process
def test_a_killed_training_continues_at_its_newest_step_checkpoint(tmp_path: Path, templates: Path) -> None:
    """All step checkpoints are gone once the training is complete."""
    outcome, attempts, said = launched(job(tmp_path, templates, "killed-once"))
    assert outcome.decision == FINISH
    assert [one.end for one in attempts] == ["killed", "done"]
    resumed = attempts[1].resumed_step
    assert resumed is not None
    assert attempts[1].resumed_from is not None
    assert LENGTH < resumed.step <= 33
    assert (attempts[1].not_resumed, attempts[1].began) == (None, (1, resumed.step - LENGTH))
    assert f"resumes {resumed} from {resumed.path}" in said
    assert f"resumed {resumed}" in said
    assert steps(job(tmp_path, templates)) == []


@pytest.mark.process
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_preceded_by_a_step_checkpoint(tmp_path: Path, templates: Path, signum: int) -> None:
    stopped = supervisor(tmp_path, templates, "good", kind="steps", launch=True, steps=RARELY, epochs=50)
    eventually(lambda: "[10/20]" in log_text(tmp_path))
    stopped.send_signal(signum)
    out, err = stopped.communicate(timeout=60)
    assert json.loads(out)["end"] == "interrupted"
    one = job(tmp_path, templates)
    (step,) = steps(one)
    assert step >= 10
    assert f"saved in epoch {step // LENGTH + 1} after iteration {step % LENGTH} (step {step})" in err
    assert step - 5 <= log_text(tmp_path).count("Epoch [") * 5 <= step
    _, resumed, _ = starting_points(one)
    assert resumed is not None
    assert resumed.step == step


@pytest.mark.process
def test_a_save_is_waited_for_as_long_as_the_last_one_took(tmp_path: Path, templates: Path) -> None:
    """2.4 s, as its manifest has it; the grace is 1 s."""
    stopped = supervisor(
        tmp_path, templates, "slow-to-save", kind="steps", launch=True, steps=OFTEN, epochs=500
    )
    eventually(lambda: steps(job(tmp_path, templates)))
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=60)
    assert json.loads(out)["end"] == "interrupted"
    assert "stopping; processes still there after 5.1 s are killed" in err
    assert "no step checkpoint was saved" not in err
    assert "saved in epoch" in err


@pytest.mark.parametrize(
    ("why", "save_s", "waits_s"),
    [
        (None, 0.0, 20.0),
        (None, 76.0, 76.0),
        (None, 1e9, 600.0),
        (SlurmStop("preempted", "", 300), 0.0, 240.0),
        (SlurmStop("preempted", "", 20), 76.0, 10.0),
        (SlurmStop("preempted", ""), 76.0, 20.0),
        (SlurmStop("time-limit", "", 300), 0.0, 240.0),
        (SlurmStop("interrupted", "its job was cancelled"), 76.0, 20.0),
    ],
)
def test_a_stop_waits_as_long_as_a_save_takes_or_slurm_leaves(
    why: SlurmStop | None, save_s: float, waits_s: float
) -> None:
    """With a grace of 30 s, as long as Slurm's default KillWait."""
    assert wait_for_step_s(30.0, why, save_s) == waits_s


@pytest.mark.process
def test_a_second_ctrl_c_waits_for_nothing(tmp_path: Path, templates: Path) -> None:
    stopped = waiting(tmp_path, templates, "deaf-to-requests", stop_grace_s=10_000.0)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=60)
    assert json.loads(out)["end"] == "interrupted"
    assert "no step checkpoint was saved: the trainer did not answer in time" in err


def waiting(folder: Path, templates: Path, habit: str, **changes: Any) -> subprocess.Popen[str]:
    """A supervisor that waits for a step checkpoint before it stops."""
    stopped = supervisor(
        folder, templates, habit, kind="steps", launch=True, steps=RARELY, epochs=50, **changes
    )
    eventually(lambda: "[10/20]" in log_text(folder))
    stopped.send_signal(signal.SIGINT)
    eventually(lambda: list(folder.rglob(files.REQUEST)))
    return stopped


@pytest.mark.process
def test_a_save_that_fails_is_not_waited_for(tmp_path: Path, templates: Path) -> None:
    stopped = waiting(tmp_path, templates, "disk-full", stop_grace_s=10_000.0)
    out, err = stopped.communicate(timeout=60)
    record = json.loads(out)
    assert (record["end"], "No space left on device" in record["unsaved"]) == ("interrupted", True)
    assert "no step checkpoint was saved: OSError: [Errno 28] No space left on device" in err


@pytest.mark.process
def test_a_refused_step_checkpoint_costs_one_attempt_and_no_more(tmp_path: Path, templates: Path) -> None:
    """The trainer continues from its own and notes that; the next attempt asks for another."""
    one = job(tmp_path, templates, "refuses")
    folder = write_step(with_an_attempt(one), 2 * LENGTH + 13)
    save(one, templates, 1)
    outcome, attempts, said = launched(one)
    assert outcome.decision == FINISH
    assert attempts[-1].resumed_step is not None
    assert attempts[-1].resumed_step.path == str(folder)
    assert attempts[-1].not_resumed == "its sampler is another one"
    assert attempts[-1].began == (1, 0)
    assert "not resumed in epoch 3 after iteration 13 (step 53): its sampler is another one" in said


@pytest.mark.process
def test_without_the_hook_the_trainer_continues_from_its_own_and_that_is_told(
    tmp_path: Path, templates: Path
) -> None:
    """The step checkpoint is not refused by that: it counts again once the hook is back."""
    one = toy_job(tmp_path, templates, steps=SAVING)  # one process, so that a rank is missing
    write_step(with_an_attempt(one), LENGTH + 13)
    save(one, templates, 1)
    outcome, attempts, said = launched(one)
    assert outcome.decision == FINISH
    assert attempts[-1].began == (1, 0)
    assert "the hook did not attach: " in said
    assert "not resumed in epoch 2 after iteration 13 (step 33): the hook did not attach" in said
    assert [why[:23] for why in attempts[-1].hook_problems] == [
        "the hook did not attach",
        "not resumed in epoch 2 ",
    ]


@pytest.mark.process
def test_step_checkpoints_of_earlier_attempts_go_while_it_trains(tmp_path: Path, templates: Path) -> None:
    """Their room is needed before the training is over."""
    one = job(tmp_path, templates)
    older = write_step(with_an_attempt(one), 3)
    stopped = supervisor(tmp_path, templates, "good", kind="steps", launch=True, steps=OFTEN, epochs=500)
    eventually(lambda: not older.exists())
    assert len(list(older.parent.parent.parent.glob("002/steps/*"))) >= 2
    stopped.send_signal(signal.SIGINT)
    stopped.communicate(timeout=60)
