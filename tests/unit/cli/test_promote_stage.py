"""`trainrelay promote`: the gate between a training and the stage that starts from it."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from support.stage_on_disk import WEIGHTS, OnDisk
from trainrelay import checkpoint
from trainrelay.cli import common, main
from trainrelay.cli.stage import accept
from trainrelay.config import Config, overview_path, report_path
from trainrelay.errors import Refusal
from trainrelay.operations import promote
from trainrelay.operations.held_lease import held_lease
from trainrelay.operations.promote import promote_stage, refuse_foreign_target
from trainrelay.operations.train import train_stage
from trainrelay.records import Acceptance, AttemptRecord, CheckpointRecord, Promotions, TrainRecord
from trainrelay.system.files import read_record, write_json
from trainrelay.text import kept_secret
from trainrelay.training import state
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan
from trainrelay.watching.stage import StageWatch
from trainrelay.watching.table import remarks

NAN_LOSS = {"metrics": {"loss": lambda step: math.nan if step >= 150 else 5.0}}


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


def target(disk: OnDisk) -> Path:
    assert disk.paths.target is not None
    return disk.paths.target


def accepted(disk: OnDisk) -> str | None:
    record = read_record(disk.paths.checkpoint, CheckpointRecord)
    assert record is not None
    return record.accepted


def test_a_healthy_training_is_handed_on(disk: OnDisk) -> None:
    disk.train()
    train_stage(StageContext(disk.config(), "r", "s"))
    promote_stage(StageContext(disk.config(), "r", "s"))
    assert target(disk).read_bytes() == WEIGHTS
    assert accepted(disk) is None


def test_a_blocking_finding_keeps_the_checkpoint_where_it_is(disk: OnDisk) -> None:
    disk.train(log=NAN_LOSS)
    train_stage(StageContext(disk.config(), "r", "s"))
    with pytest.raises(Refusal, match=r"non-finite: loss is NaN(?s:.*)trainrelay accept r/s --reason"):
        promote_stage(StageContext(disk.config(), "r", "s"))
    assert not target(disk).exists()
    assert not disk.paths.checkpoint.exists()


def watched(disk: OnDisk) -> str:
    return "\n".join(remarks([StageWatch(StageContext(disk.config(), "r", "s")).look()]))


def test_a_refused_promotion_is_shown_until_it_is_made(disk: OnDisk) -> None:
    """By plan, by watch, and by a start, which trains nothing."""
    said = r"complete.*warning: its last promotion was refused: .*loss is NaN.* run: trainrelay accept r/s"
    disk.train(log=NAN_LOSS)
    train_stage(StageContext(disk.config(), "r", "s"))
    assert "refused" not in stage_plan(StageContext(disk.config(), "r", "s")).reason
    with pytest.raises(Refusal):
        promote_stage(StageContext(disk.config(), "r", "s"))
    assert re.search(said.partition("warning")[2], stage_plan(StageContext(disk.config(), "r", "s")).reason)
    assert re.search(said.partition("warning")[2], watched(disk))
    promote_stage(StageContext(disk.config(gate=False), "r", "s"))
    assert "refused" not in stage_plan(StageContext(disk.config(), "r", "s")).reason
    assert watched(disk) == ""


def test_what_came_before_the_training_was_complete_is_not_shown_after_it(disk: OnDisk) -> None:
    disk.train()
    train_stage(StageContext(disk.config(), "r", "s"))
    with pytest.raises(Refusal, match="r/s is resumable"):
        promote_stage(StageContext(disk.config(epochs=3), "r", "s"))
    assert "refused" not in stage_plan(StageContext(disk.config(), "r", "s")).reason


def test_a_secret_in_the_reason_is_in_no_record(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_secret({"A_TOKEN": "token-4711-of-the-gate"})
    disk.train()
    train_stage(StageContext(disk.config(), "r", "s"))
    refusing = Refusal("a line of the log: token-4711-of-the-gate\n\x1b[2J")
    monkeypatch.setattr(promote, "gate", lambda *_: (_ for _ in ()).throw(refusing))
    with pytest.raises(Refusal):
        promote_stage(StageContext(disk.config(), "r", "s"))
    written = disk.paths.not_promoted.read_text()
    assert "a line of the log: ***" in written
    assert "4711" not in written
    assert "\\u001b" not in written


def test_a_target_that_is_not_ours_is_shown_too(disk: OnDisk) -> None:
    disk.train()
    train_stage(StageContext(disk.config(), "r", "s"))
    target(disk).parent.mkdir(parents=True)
    target(disk).write_bytes(b"somebody's weights")
    with pytest.raises(Refusal):
        promote_stage(StageContext(disk.config(), "r", "s"))
    assert "s.pth was not written by trainrelay" in stage_plan(StageContext(disk.config(), "r", "s")).reason
    target(disk).unlink()
    promote_stage(StageContext(disk.config(), "r", "s"))
    assert "refused" not in stage_plan(StageContext(disk.config(), "r", "s")).reason


def test_a_person_hands_on_this_checkpoint_in_spite_of_findings_and_no_other(disk: OnDisk) -> None:
    disk.train(log=NAN_LOSS)
    train_stage(StageContext(disk.config(), "r", "s"))
    word = Acceptance(kind="gate", subject="another sha256", reason="looks good", at_s=9e9)
    write_json(disk.paths.accepted, word)
    with pytest.raises(Refusal):
        promote_stage(StageContext(disk.config(), "r", "s"))
    sha256 = disk.facts().file.sha256
    write_json(disk.paths.accepted, word.model_copy(update={"subject": sha256}))
    promote_stage(StageContext(disk.config(), "r", "s"))
    assert (target(disk).read_bytes(), accepted(disk)) == (WEIGHTS, "looks good")


def test_without_a_gate_findings_do_not_stop_the_promotion_and_that_is_recorded(disk: OnDisk) -> None:
    disk.train(log=NAN_LOSS)
    train_stage(StageContext(disk.config(), "r", "s"))
    promote_stage(StageContext(disk.config(gate=False), "r", "s"))
    assert (target(disk).read_bytes(), accepted(disk)) == (WEIGHTS, "gate: off")


def trained_and_promoted(disk: OnDisk, weights: bytes = WEIGHTS, **stage: Any) -> None:
    disk.train(weights=weights)
    train_stage(StageContext(disk.config(**stage), "r", "s"))
    promote_stage(StageContext(disk.config(**stage), "r", "s"))


def set_aside(disk: OnDisk, name: str) -> None:
    disk.paths.folder.rename(disk.paths.folder.with_name(name))


@pytest.mark.parametrize("aside", ["s.old-1", "s.old"])
def test_what_an_earlier_training_of_ours_promoted_is_replaced_and_kept(disk: OnDisk, aside: str) -> None:
    trained_and_promoted(disk)
    set_aside(disk, aside)
    trained_and_promoted(disk, b"the weights of another training")
    assert target(disk).read_bytes() == b"the weights of another training"
    assert target(disk).with_name("s.pth.previous").read_bytes() == WEIGHTS


def test_the_users_own_file_outlives_every_later_promotion(disk: OnDisk) -> None:
    """An `overwrite: true` keeps it as .previous, where the next training's promotion must leave it."""
    target(disk).parent.mkdir(parents=True)
    target(disk).write_bytes(b"somebody's weights")
    trained_and_promoted(disk, promotion={"target": "ckpts/s.pth", "overwrite": True})
    set_aside(disk, "s.old-1")
    trained_and_promoted(disk, b"the weights of another training")
    assert target(disk).read_bytes() == b"the weights of another training"
    assert target(disk).with_name("s.pth.previous").read_bytes() == b"somebody's weights"
    assert target(disk).with_name("s.pth.previous-2").read_bytes() == WEIGHTS


def test_what_a_promotion_killed_before_its_end_has_written_is_still_ours(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed right after the copy came into place: no code of ours runs after that."""

    class Killed(BaseException):
        pass

    real = checkpoint.promote

    def killed(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        raise Killed

    monkeypatch.setattr(checkpoint, "promote", killed)
    with pytest.raises(Killed):
        trained_and_promoted(disk)
    monkeypatch.setattr(checkpoint, "promote", real)
    assert target(disk).read_bytes() == WEIGHTS
    set_aside(disk, "s.old-1")
    trained_and_promoted(disk, b"the weights of another training")
    assert target(disk).read_bytes() == b"the weights of another training"


def test_the_history_names_every_copy_once_in_order(disk: OnDisk) -> None:
    trained_and_promoted(disk)
    promote_stage(StageContext(disk.config(), "r", "s"))
    trained = read_record(disk.paths.train, TrainRecord)
    assert trained is not None
    disk.checkpoint.write_bytes(b"trained further")
    further = {"final_checkpoint": disk.facts(b"trained further")}
    write_json(disk.paths.train, trained.model_copy(update=further))
    attempt = disk.paths.folder / "attempts/001/attempt.json"
    write_json(attempt, read_record(attempt, AttemptRecord).model_copy(update=further))  # type: ignore[union-attr]
    promote_stage(StageContext(disk.config(), "r", "s"))
    record = read_record(disk.paths.promoted, Promotions)
    assert record is not None
    expected = [disk.facts(weights).file.sha256 for weights in (WEIGHTS, b"trained further")]
    assert [(copy.path, copy.sha256) for copy in record.written] == [
        (str(target(disk)), sha256) for sha256 in expected
    ]


def test_a_foreign_target_is_refused_before_the_training_as_it_would_be_after(disk: OnDisk) -> None:
    target(disk).parent.mkdir(parents=True)
    target(disk).write_bytes(b"somebody's weights")
    with pytest.raises(Refusal) as before:
        refuse_foreign_target(state.read(StageContext(disk.config(), "r", "s")))
    with pytest.raises(Refusal) as after:
        trained_and_promoted(disk)
    assert str(before.value) == str(after.value)
    overwriting = disk.config(promotion={"target": "ckpts/s.pth", "overwrite": True})
    refuse_foreign_target(state.read(StageContext(overwriting, "r", "s")))


@pytest.mark.parametrize("link", [True, False])
def test_a_target_that_is_no_file_is_refused_before_the_training(disk: OnDisk, link: bool) -> None:
    target(disk).parent.mkdir(parents=True)
    if link:
        target(disk).symlink_to("elsewhere.pth")
    else:
        target(disk).mkdir()
    with pytest.raises(Refusal, match="symbolic link" if link else "is a folder"):
        refuse_foreign_target(state.read(StageContext(disk.config(), "r", "s")))


def test_our_own_target_no_target_or_none_at_all_does_not_stop_a_training(disk: OnDisk) -> None:
    refuse_foreign_target(state.read(StageContext(disk.config(), "r", "s")))
    without = disk.config(promotion=None)
    refuse_foreign_target(state.read(StageContext(without, "r", "s")))
    trained_and_promoted(disk)
    set_aside(disk, "s.old-1")
    refuse_foreign_target(state.read(StageContext(disk.config(), "r", "s")))


def without_logs(disk: OnDisk) -> None:
    disk.train()
    train_stage(StageContext(disk.config(), "r", "s"))
    for log in disk.paths.folder.glob("attempts/*/*.log"):
        log.unlink()


def test_deleted_logs_are_a_finding_that_closes_the_gate(disk: OnDisk) -> None:
    without_logs(disk)
    with pytest.raises(Refusal, match=r"  logs: (?s:.*)trainrelay accept r/s --reason"):
        promote_stage(StageContext(disk.config(), "r", "s"))
    assert not target(disk).exists()


def test_deleted_logs_do_not_stop_an_accepted_or_ungated_checkpoint(disk: OnDisk) -> None:
    without_logs(disk)
    promote_stage(StageContext(disk.config(gate=False), "r", "s"))
    assert (target(disk).read_bytes(), accepted(disk)) == (WEIGHTS, "gate: off")
    subject = disk.facts().file.sha256
    write_json(disk.paths.accepted, Acceptance(kind="gate", subject=subject, reason="seen", at_s=9e9))
    promote_stage(StageContext(disk.config(), "r", "s"))
    assert accepted(disk) == "seen"


def lowered(disk: OnDisk) -> Config:
    """A config that asks for one epoch less than is trained and kept."""
    return disk.config(epochs=1)


def test_epochs_lowered_below_what_is_kept_is_one_answer_from_plan_train_and_promote(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each of the two ways out that it names works."""
    disk.train()
    train_stage(StageContext(disk.config(), "r", "s"))
    said = state.current(StageContext(lowered(disk), "r", "s")).reason
    assert "epochs is 1, but 2 epochs are trained and epoch 1 has no checkpoint; set epochs: 2" in said
    assert stage_plan(StageContext(lowered(disk), "r", "s")).action == "refuse"
    assert said in stage_plan(StageContext(lowered(disk), "r", "s")).message()
    for verb in (train_stage, promote_stage):
        with pytest.raises(Refusal, match=re.escape(said)):
            verb(StageContext(lowered(disk), "r", "s"))
    monkeypatch.setattr(common, "configured", lambda _: lowered(disk))
    accept(argparse.Namespace(where="r/s", reason="I want it as it is", retrain=False))
    train_stage(StageContext(lowered(disk), "r", "s"))
    promote_stage(StageContext(lowered(disk), "r", "s"))
    assert target(disk).read_bytes() == WEIGHTS


def test_a_log_without_its_last_line_does_not_keep_a_finished_training_from_promotion(disk: OnDisk) -> None:
    """The checkpoint says that the last epoch is done; a trainer may print every Nth iteration only."""
    disk.train(log={"stop": (2, 40)})
    train_stage(StageContext(disk.config(), "r", "s"))
    promote_stage(StageContext(disk.config(), "r", "s"))
    assert target(disk).read_bytes() == WEIGHTS


def test_a_log_of_no_known_format_is_a_warning_of_a_finished_training(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint says that it is finished and finite; a log that nobody reads says nothing against it."""
    disk.train()
    (log,) = disk.paths.folder.glob("attempts/*/*.log")
    log.write_text("step one\nstep two\n")
    train_stage(StageContext(disk.config(), "r", "s"))
    promote_stage(StageContext(disk.config(), "r", "s"))
    assert target(disk).read_bytes() == WEIGHTS
    assert "warning: its numbers are not judged, only its checkpoint" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.parametrize("refused", ["gate", "changed"])
def test_a_refused_promotion_leaves_its_reports(
    disk: OnDisk, capsys: pytest.CaptureFixture[str], refused: str
) -> None:
    disk.train(log=NAN_LOSS)
    at = StageContext(disk.config(), "r", "s")
    train_stage(at)
    if refused == "changed":
        disk.checkpoint.write_bytes(b"other weights")
    path = disk.base / "my.json"
    path.write_text(disk.config().model_dump_json(by_alias=True))
    for page in (report_path(at.config, "r"), overview_path(at.config)):
        page.parent.mkdir(exist_ok=True)
        page.write_text("of the time before")
    assert main(["promote", "r/s", "--configfile", str(path)]) == 2
    err = capsys.readouterr().err
    assert "trainrelay accept r/s --configfile" in err.splitlines()[-1] or "sha256" in err.splitlines()[-1]
    assert "NaN" in report_path(at.config, "r").read_text()
    assert "The checkpoint is not promoted (non-finite)" in at.paths.analysis_text.read_text()
    assert "of the time before" not in overview_path(at.config).read_text()


def test_beside_another_promotion_nothing_is_promoted_and_that_is_said(disk: OnDisk) -> None:
    disk.train()
    at = StageContext(disk.config(), "r", "s")
    train_stage(at)
    with held_lease(at), pytest.raises(Refusal, match=r"r/s: the supervisor on .* trains or promotes it, so"):
        promote_stage(at)
    assert not disk.paths.checkpoint.exists()
    promote_stage(at)
    assert target(disk).read_bytes() == WEIGHTS


def promoting(config: Path, begin: int, said: Path) -> int:
    """A process of ours that promotes once there is something to read; its pid."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.read(begin, 1)
        sys.stdout = sys.stderr = said.open("w", encoding="utf-8")
        code = main(["promote", "r/s", "--configfile", str(config)])
        sys.stderr.flush()
    finally:
        os._exit(code)


@pytest.mark.process
def test_of_four_promotions_at_once_one_is_made_and_the_others_say_so(disk: OnDisk) -> None:
    disk.train()
    train_stage(StageContext(disk.config(), "r", "s"))
    config = disk.base / "config.json"
    config.write_text(disk.config().model_dump_json(by_alias=True))
    begin, start = os.pipe()
    pids = {}
    for number in range(4):
        said = disk.base / str(number)
        pids[promoting(config, begin, said)] = said
    os.write(start, b"....")
    ends = {said: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, said in pids.items()}
    texts = {said.read_text(encoding="utf-8"): end for said, end in ends.items()}
    assert 0 in ends.values(), texts  # a second one may begin after the first has ended
    assert set(ends.values()) <= {0, 2}, texts
    refused = [words for words, end in texts.items() if end]
    assert all("trains or promotes it, so nothing was promoted here" in words for words in refused), texts
    assert target(disk).read_bytes() == WEIGHTS
    assert accepted(disk) is None
    assert not list(target(disk).parent.glob(".*"))
