"""Whole attempts with a toy trainer, real processes and real signals."""

from __future__ import annotations

import io
import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from support.supervising import Toy, carrying, eventually, log_text, once, supervisor, toy_job
from trainrelay.errors import UserError
from trainrelay.records import AttemptRecord
from trainrelay.supervise import StageJob
from trainrelay.supervise.attempt_end import final_checkpoint
from trainrelay.text import kept_secret
from trainrelay.trainers import Launch, LaunchRequest, StepSeen
from trainrelay.training.attempts import list_attempts

pytestmark = pytest.mark.process


def run(job: StageJob) -> tuple[AttemptRecord, str]:
    output = io.StringIO()
    record = once(job, Console(file=output))
    assert list_attempts(job.stage_dir)[-1] == record
    return record, output.getvalue()


def test_training_ends_done_with_its_facts(tmp_path: Path, templates: Path) -> None:
    """The record holds the command, the port, the last step and the final checkpoint's facts."""
    record, output = run(toy_job(tmp_path, templates, log_name="train_stage1.log"))
    assert (record.end, record.exit_status, record.number) == ("done", 0, 1)
    assert (record.last_epoch, record.last_iteration, record.iters_per_epoch) == (3, 3, 3)
    assert record.final_checkpoint is not None
    assert (record.final_checkpoint.epoch, record.final_checkpoint.finite) == (3, True)
    assert int(record.argv[record.argv.index("--port") + 1]) > 1024
    assert record.env == {"TOY": "ü"}
    assert Path(record.log).name == "train_stage1.log"
    assert "epoch 3/3, iteration 3/3" in output
    assert record.ended_s is not None
    assert record.ended_s >= record.started_s


def test_relaunch_resumes_after_the_newest_checkpoint(tmp_path: Path, templates: Path) -> None:
    """A crash in epoch 2 is repeated from epoch 1's checkpoint, and proved to be."""
    crashed, _ = run(toy_job(tmp_path, templates, "raises"))
    assert (crashed.end, "KeyError: 'img_metas'" in (crashed.reason or "")) == ("trainer-bug", True)
    resumed, output = run(toy_job(tmp_path, templates))
    assert resumed.resumed_from is not None
    assert (resumed.end, resumed.number, resumed.resumed_from.epoch) == ("done", 2, 1)
    assert "resumes after epoch 1" in output
    assert "Epoch [1]" not in Path(resumed.log).read_text()


def test_the_trainer_has_its_secret_and_no_record_does(tmp_path: Path, templates: Path) -> None:
    """Nor does what it printed of it, quoted as the reason of its end."""
    job = toy_job(tmp_path, templates, "tells-its-token")
    env = kept_secret({"HF_TOKEN": "hf-4711-toy", "NCCL_DEBUG": "WARN"})
    record, output = run(replace(job, request=replace(job.request, env=env)))
    assert "401 for hf-4711-toy" in Path(record.log).read_text()
    assert (record.env["HF_TOKEN"], record.env["NCCL_DEBUG"]) == ("***", "WARN")
    assert "401 for ***" in (record.reason or "")
    kept = "".join(path.read_text() for path in job.stage_dir.rglob("*.json*"))
    assert "hf-4711-toy" not in kept + output


def test_fixed_port_is_kept(tmp_path: Path, templates: Path) -> None:
    """A port of the config reaches the trainer as it is."""
    record, _ = run(toy_job(tmp_path, templates, epochs=1, port=28599))
    assert record.argv[record.argv.index("--port") + 1] == "28599"


@pytest.mark.parametrize(
    ("habit", "end", "evidence"),
    [
        ("killed", "killed", "SIGKILL"),
        ("stops-early", "unfinished", "the checkpoint of epoch 3 is missing"),
        ("leaves-children", "done", "3 of 3"),
        ("noisy", "done", "3 of 3"),
    ],
)
def test_end_is_classified(tmp_path: Path, templates: Path, habit: str, end: str, evidence: str) -> None:
    """Each habit of the toy trainer has its class; processes it leaves are ended."""
    record, _ = run(toy_job(tmp_path, templates, habit))
    assert (record.end, evidence in (record.reason or "")) == (end, True), record.reason


def test_truncated_final_checkpoint_is_unfinished(tmp_path: Path, templates: Path) -> None:
    """Exit 0 and a file of the right name are not enough."""
    bad = tmp_path / "bad templates"
    bad.mkdir()
    (bad / "epoch_1.pth").write_bytes((templates / "epoch_1.pth").read_bytes()[:300])
    record, _ = run(toy_job(tmp_path, bad, epochs=1))
    assert (record.end, "epoch_1.pth" in (record.reason or "")) == ("unfinished", True)
    assert record.final_checkpoint is None


@pytest.mark.parametrize("habit", ["from-zero-then-waits", "other-epoch"])
def test_trainer_that_did_not_resume_is_stopped_at_once(tmp_path: Path, templates: Path, habit: str) -> None:
    """Within its first lines, before it writes over a checkpoint."""
    job = toy_job(tmp_path, templates, "raises", epochs=4)
    run(job)
    checkpoint = job.work_dirs.current / "epoch_2.pth"
    checkpoint.write_bytes((templates / "epoch_2.pth").read_bytes())
    before = checkpoint.stat()
    record, _ = run(toy_job(tmp_path, templates, habit, epochs=4, stop_grace_s=1000.0))
    assert record.end == "not-resumed"
    if habit == "from-zero-then-waits":
        assert (checkpoint.stat().st_ino, record.exit_status) == (before.st_ino, -signal.SIGKILL)


def test_silent_resume_is_not_believed(tmp_path: Path, templates: Path) -> None:
    """Steps of the right epoch without the line that proves the resume are a start from zero."""
    run(toy_job(tmp_path, templates, "raises"))
    record, _ = run(toy_job(tmp_path, templates, "silent-resume"))
    assert (record.end, record.resumed_from is not None) == ("not-resumed", True)


def test_resume_without_a_word_is_a_warning_of_a_finished_training(tmp_path: Path, templates: Path) -> None:
    """A log that says nothing at all proves nothing; the last epoch's checkpoint is there all the same."""
    run(toy_job(tmp_path, templates, "raises"))

    class Mute(Toy):
        def launch(self, request: LaunchRequest, inherited: Any) -> Launch:
            source = f"{request.config}/epoch_3.pth"
            return Launch(("cp", source, request.work_dir), {}, request.root)

    record, _ = run(toy_job(tmp_path, templates, trainer=Mute()))
    assert (record.end, "warning" in (record.reason or "")) == ("done", True)
    assert "no line of its log shows whether it did" in (record.reason or "")


def test_who_had_nothing_left_to_train_need_not_say_that_it_resumed(tmp_path: Path, templates: Path) -> None:
    """It went on from the last epoch, for what follows the training."""
    run(toy_job(tmp_path, templates))

    class Mute(Toy):
        def launch(self, request: LaunchRequest, inherited: Any) -> Launch:
            return Launch(("true",), {}, request.root)

    record, _ = run(toy_job(tmp_path, templates, trainer=Mute()))
    assert (record.number, record.end, record.resumed_at) == (2, "done", 3)
    assert "warning" not in (record.reason or "")


def test_trainer_that_cannot_start_is_one_sentence(tmp_path: Path, templates: Path) -> None:
    """A missing interpreter is named; the attempt is closed, so that a relaunch is not refused."""
    job = toy_job(tmp_path, templates)
    missing = replace(job, request=replace(job.request, interpreter=str(tmp_path / "no python")))
    with pytest.raises(
        UserError, match=r"cannot start the trainer: .*no python.*No such file.* or that path's permissions"
    ):
        run(missing)
    assert list_attempts(job.stage_dir)[0].end == "trainer-bug"
    assert run(job)[0].end == "done"


def test_missing_checkout_is_one_sentence(tmp_path: Path, templates: Path) -> None:
    """A working directory that is not there is named."""
    job = toy_job(tmp_path, templates)
    with pytest.raises(UserError, match=r"cannot start the trainer: .*nowhere"):
        run(replace(job, request=replace(job.request, root=str(tmp_path / "nowhere"))))


def test_fault_of_our_own_leaves_no_process_and_a_closed_record(tmp_path: Path, templates: Path) -> None:
    """Whatever the supervisor itself raises, the trainer ends and the attempt has an end."""

    class Faulty(Toy):
        def observe(self, line: str) -> StepSeen | None:
            raise ZeroDivisionError("a fault of ours")

    job = toy_job(tmp_path, templates, "many", trainer=Faulty(), stop_grace_s=0.2)
    with pytest.raises(ZeroDivisionError):
        run(job)
    closed = list_attempts(job.stage_dir)[0]
    assert (closed.end, "a fault of ours" in (closed.reason or "")) == ("lost", True)
    assert not carrying(closed.tag)


def test_record_lies_on_disk_before_the_trainer_starts(tmp_path: Path, templates: Path) -> None:
    """The trainer itself finds its own attempt recorded, with its tag."""

    class Reader(Toy):
        def launch(self, request: LaunchRequest, inherited: Any) -> Launch:
            script = "cat runs/toy/stage1/attempts/001/attempt.json; echo; echo $TRAINRELAY_ATTEMPT"
            return Launch(("sh", "-c", script), {}, request.root)

    record, _ = run(toy_job(tmp_path, templates, trainer=Reader()))
    *lines, tag = Path(record.log).read_text().splitlines()
    seen = AttemptRecord.model_validate_json("\n".join(lines))
    assert (seen.tag, seen.end) == (tag, None)


def answer(boss: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = boss.communicate(timeout=60)
    assert output, errors
    return json.loads(output)  # type: ignore[no-any-return]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_the_training_resumably(tmp_path: Path, templates: Path, signum: int) -> None:
    """A stop is recorded as such, nothing is left, the old handlers are back, a relaunch goes on."""
    boss = supervisor(tmp_path, templates, "waits-in-epoch-2")
    eventually(lambda: "Epoch [2]" in log_text(tmp_path))
    boss.send_signal(signum)
    said = answer(boss)
    assert (said["end"], said["last_epoch"]) == ("interrupted", 2)
    assert not carrying(said["tag"])
    assert "default_int_handler" in said["handlers"][0]
    assert said["handlers"][1:] == ["0", "0"]
    assert run(toy_job(tmp_path, templates))[0].end == "done"


def test_processes_that_ignore_the_stop_are_killed_after_the_grace(tmp_path: Path, templates: Path) -> None:
    """Deaf, stopped and orphaned ones too."""
    boss = supervisor(tmp_path, templates, "many", stop_grace_s=0.5)
    eventually(lambda: log_text(tmp_path).count("child up") >= 5 and "Epoch" in log_text(tmp_path))
    boss.send_signal(signal.SIGINT)
    said = answer(boss)
    assert said["end"] == "interrupted"
    assert not carrying(said["tag"])


def test_second_ctrl_c_ends_the_grace(tmp_path: Path, templates: Path) -> None:
    """A person who is in a hurry is not made to wait; Snakemake's SIGTERM after a Ctrl-C is no hurry."""
    boss = supervisor(tmp_path, templates, "deaf", stop_grace_s=10_000.0)
    eventually(lambda: "Epoch" in log_text(tmp_path))
    boss.send_signal(signal.SIGINT)
    assert boss.stderr is not None
    eventually(lambda: "stopping" in boss.stderr.readline())  # type: ignore[union-attr]
    boss.send_signal(signal.SIGTERM)
    boss.send_signal(signal.SIGINT)
    said = answer(boss)
    assert (said["end"], said["exit_status"]) == ("interrupted", -signal.SIGKILL)


def test_unwritable_stage_folder_starts_nothing(tmp_path: Path, templates: Path) -> None:
    """Where no record can be written, no trainer is started."""
    job = toy_job(tmp_path, templates)
    job.stage_dir.mkdir(parents=True)
    (job.stage_dir / "attempts").write_text("a file in the way")
    with pytest.raises(UserError, match="cannot write"):
        once(job, Console(file=io.StringIO()))
    assert not job.work_dirs.current.exists()


def test_supervising_costs_no_scan_of_processes(tmp_path: Path, templates: Path, monkeypatch: Any) -> None:
    """While a training runs, no process's environment is read: that can wait for a stuck one."""
    scans: list[str] = []
    monkeypatch.setattr("trainrelay.supervise.process.find", lambda tag: scans.append(tag) or [])
    run(toy_job(tmp_path, templates, epochs=6))
    assert len(scans) == 2


@pytest.mark.parametrize(
    ("habit", "warning"),
    [("killed-at-the-end", "SIGKILL"), ("raises-at-the-end", "after the last checkpoint")],
)
def test_an_end_after_the_last_checkpoint_is_done_with_a_warning(
    tmp_path: Path, templates: Path, habit: str, warning: str
) -> None:
    record, _ = run(toy_job(tmp_path, templates, habit))
    assert record.end == "done"
    assert (record.reason or "").startswith("3 of 3 epochs trained; warning: ")
    assert warning in (record.reason or "")
    assert record.final_checkpoint is not None


def test_a_hang_after_the_last_checkpoint_is_ended_once_and_done(tmp_path: Path, templates: Path) -> None:
    record, _ = run(toy_job(tmp_path, templates, "waits-at-the-end", hang_timeout_s=1.0))
    assert record.end == "done"
    assert "warning: no progress for" in (record.reason or "")


def test_a_trainer_that_goes_past_its_epochs_is_done(tmp_path: Path, templates: Path) -> None:
    job = toy_job(tmp_path, templates, "goes-past", epochs=2)
    record, _ = run(job)
    assert (record.end, record.final_checkpoint and record.final_checkpoint.epoch) == ("done", 2)
    (job.work_dirs.current / "epoch_2.pth").unlink()
    final, _ = final_checkpoint(job, 0)
    assert final is not None
    assert final.epoch == 3
