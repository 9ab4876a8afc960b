"""Whole launches with a toy trainer: what is tried again by itself, what ends, and who is followed."""

from __future__ import annotations

import io
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from support.supervising import Alone, carrying, eventually, killed_supervisor, log_text, supervisor, toy_job
from trainrelay.errors import NoProgress, Refusal
from trainrelay.records import AttemptRecord
from trainrelay.supervise import StageJob, train
from trainrelay.supervise.attempt_folders import write_attempt
from trainrelay.supervise.decide import FINISH
from trainrelay.training.attempts import list_attempts
from trainrelay.training.launch_id import LAUNCH_VARIABLE

pytestmark = pytest.mark.process


def launched(job: StageJob) -> tuple[AttemptRecord, list[str | None], str]:
    """The outcome, the ends of all attempts, and what was said."""
    output = io.StringIO()
    outcome = train(job, Console(file=output, width=500), Alone())
    return outcome, [attempt.end for attempt in list_attempts(job.stage_dir)], output.getvalue()


def test_a_crash_after_progress_is_tried_again_by_itself(tmp_path: Path, templates: Path) -> None:
    """Each attempt goes on from the newest checkpoint, and the launch ends complete."""
    outcome, ends, said = launched(toy_job(tmp_path, templates, "raises-once"))
    assert outcome.decision == FINISH
    assert ends == ["trainer-bug", "done"]
    assert "retrying on gloo" in said
    resumed = outcome.resumed_from
    assert resumed is not None
    assert resumed.epoch == 1


def test_a_crash_loop_without_a_new_checkpoint_ends_after_k_attempts(tmp_path: Path, templates: Path) -> None:
    """The first attempt brought epoch 1; the three after it brought nothing."""
    outcome, ends, _ = launched(toy_job(tmp_path, templates, "raises", most_without_checkpoint=3))
    assert ends == ["trainer-bug"] * 4
    assert outcome.decision is not None
    assert outcome.decision.step == "final"
    assert outcome.decision.reason.startswith("3 attempts in a row saved no new checkpoint")


def test_a_mistake_before_the_first_step_is_not_tried_again(tmp_path: Path, templates: Path) -> None:
    """Another attempt would make it too."""
    job = toy_job(tmp_path, templates)
    broken = {"words": ["--no-such-argument"]}
    outcome, ends, _ = launched(replace(job, request=replace(job.request, options=broken)))
    assert ends == ["trainer-bug"]
    assert outcome.decision is not None
    assert outcome.decision.step == "final"
    assert "before its first training step" in outcome.decision.reason


def test_a_person_who_launches_again_is_always_obeyed(tmp_path: Path, templates: Path) -> None:
    """What ended a launch for good counts for that launch only."""
    launched(toy_job(tmp_path, templates, "raises"))
    outcome, ends, _ = launched(toy_job(tmp_path, templates))
    assert outcome.decision == FINISH
    assert ends[-1] == "done"


def test_what_a_launch_concluded_is_in_the_record_of_each_attempt(tmp_path: Path, templates: Path) -> None:
    job = toy_job(tmp_path, templates, "raises", most_without_checkpoint=2)
    launched(job)
    steps = [attempt.decision and attempt.decision.step for attempt in list_attempts(job.stage_dir)]
    assert steps == ["again", "again", "final"]
    last = list_attempts(job.stage_dir)[-1].decision
    assert last is not None
    assert last.reason.startswith("2 attempts in a row saved no new checkpoint")
    assert last.what_to_do


def test_an_exit_0_with_nothing_that_is_understood_is_not_repeated(tmp_path: Path, templates: Path) -> None:
    """It names the files found, what was looked for, and the first lines understood and not understood."""
    job = toy_job(tmp_path, templates, "understood-nowhere")
    outcome, ends, _ = launched(job)
    assert ends == ["unfinished"]
    assert outcome.decision is not None
    assert outcome.decision.step == "final"
    for word in ("weights.ckpt", "looked for: ", "Loading annotations`", "`train 10 steps, loss 0.3`"):
        assert word in outcome.decision.reason
    assert "lines that tell its progress: none" in outcome.decision.reason
    with pytest.raises(Refusal, match=r"weights\.ckpt .*looked for: .*Loading annotations`"):
        launched(toy_job(tmp_path, templates))
    assert len(list_attempts(job.stage_dir)) == 1
    (job.stage_dir / "attempts/001/trainer.log").unlink()
    with pytest.raises(Refusal, match=r"weights\.ckpt \(is not called epoch_N\.pth\); looked for: "):
        launched(toy_job(tmp_path, templates))
    (job.work_dirs.current / "weights.ckpt").unlink()
    assert launched(toy_job(tmp_path, templates))[1][-1] == "done"


def test_a_training_whose_end_nobody_saw_is_verified_and_not_resumed(tmp_path: Path, templates: Path) -> None:
    """Its supervisor and its trainer were killed after the last checkpoint."""
    job = toy_job(tmp_path, templates, "raises-once", epochs=3)
    launched(job)
    last = list_attempts(job.stage_dir)[-1]
    lost = {"end": "lost", "reason": "the supervisor died", "final_checkpoint": None, "exit_status": None}
    write_attempt(job.stage_dir, last.model_copy(update=lost))
    outcome, ends, _ = launched(job)
    assert outcome.decision == FINISH
    assert ends == ["trainer-bug", "done"]
    assert outcome.reason == ("3 of 3 epochs trained; warning: the attempt ended: lost (the supervisor died)")
    assert outcome.final_checkpoint is not None
    assert outcome.final_checkpoint.epoch == 3


def test_jobs_of_one_call_in_vain_end_it(
    tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A requeued job goes on counting where the one before ended; it begins no attempt then."""
    monkeypatch.setenv(LAUNCH_VARIABLE, "the same call")
    _, before, _ = launched(toy_job(tmp_path, templates, "raises", most_without_checkpoint=3))
    job = toy_job(tmp_path, templates)
    with pytest.raises(NoProgress, match="3 attempts in a row saved no new checkpoint"):
        launched(job)
    assert [attempt.end for attempt in list_attempts(job.stage_dir)] == before


def test_a_trainer_whose_supervisor_died_is_followed_to_its_end(tmp_path: Path, templates: Path) -> None:
    """Nothing is trained twice: it is the same attempt, and it ends done."""
    killed_supervisor(tmp_path, templates, "slow", epochs=2)
    outcome, ends, said = launched(toy_job(tmp_path, templates, epochs=2))
    assert outcome.decision == FINISH
    assert ends == ["done"]
    assert "continues though its supervisor died" in said
    assert (outcome.last_epoch, outcome.exit_status) == (2, 0)
    assert log_text(tmp_path).count("Epoch [1][1/3]") == 1


def test_a_followed_trainer_that_fails_is_tried_again(tmp_path: Path, templates: Path) -> None:
    """Its exit status was seen by nobody; its log and its checkpoints tell."""
    killed_supervisor(tmp_path, templates, "slow", epochs=1)
    outcome, ends, _ = launched(toy_job(tmp_path, templates, epochs=3))
    assert outcome.decision == FINISH
    assert ends[-1] == "done"
    assert len(ends) == 2
    assert log_text(tmp_path).count("Epoch [1][1/3]") == 1


def test_a_followed_trainer_is_ended_by_a_stop(tmp_path: Path, templates: Path) -> None:
    killed_supervisor(tmp_path, templates, "waits")
    (attempt,) = list_attempts(toy_job(tmp_path, templates).stage_dir)
    boss = supervisor(tmp_path, templates, "good", launch=True, stop_grace_s=0.5)
    assert boss.stderr is not None
    eventually(lambda: "following it" in boss.stderr.readline())  # type: ignore[union-attr]
    boss.send_signal(signal.SIGTERM)
    boss.communicate(timeout=60)
    assert not carrying(attempt.tag)
    assert [attempt.end for attempt in list_attempts(toy_job(tmp_path, templates).stage_dir)] == [
        "interrupted"
    ]
