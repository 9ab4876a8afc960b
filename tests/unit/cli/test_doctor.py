"""`trainrelay doctor`: damaged records are rebuilt from what is left, and no advice loses a training."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from support.stage_on_disk import WEIGHTS, OnDisk
from trainrelay.cli import common, stage
from trainrelay.config import Config, parse
from trainrelay.errors import Refusal, TrainrelayError, UserError
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.records import Identity, Owner, Processes, Takeover
from trainrelay.system.alive import here
from trainrelay.system.files import read_record, write_json
from trainrelay.training import state
from trainrelay.training.attempts import PROCESSES
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan

OWNER = "c" * 32


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    """Both epochs trained and recorded, as a start leaves them today."""
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    identity = read_record(disk.paths.identity, Identity)
    assert identity
    found = {"owner": OWNER, "work_dir": str(disk.paths.work_dir), "format": 2}
    write_json(disk.paths.identity, identity.model_copy(update=found))
    folder = str(disk.paths.folder.absolute())
    write_json(disk.paths.work_dir / "owner.json", Owner(id=OWNER, was_empty=True, folder=folder))
    return disk


@pytest.fixture
def doctor(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def called(write: bool = False, config: Config | None = None, as_configured: bool = False) -> None:
        monkeypatch.setattr(common, "configured", lambda _: config or disk.config())
        stage.doctor(argparse.Namespace(where="r/s", write=write, as_configured=as_configured))

    return called


def at(disk: OnDisk) -> StageContext:
    return StageContext(disk.config(), "r", "s")


def everything(disk: OnDisk) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in disk.base.rglob("*") if path.is_file()}


def truncated(path: Path, part: float = 0.5) -> bytes:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    return whole


def test_nothing_is_wrong_with_a_whole_stage(disk: OnDisk, doctor: Callable[..., None], capsys) -> None:
    before = everything(disk)
    doctor()
    assert capsys.readouterr().out == "r/s is complete: 2 of 2 epochs trained\n"
    assert everything(disk) == before


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9], ids=str)
def test_a_truncated_stage_json_is_rebuilt_once_you_say_so(
    disk: OnDisk, doctor: Callable[..., None], capsys, part: float
) -> None:
    whole = truncated(disk.paths.identity, part)
    with pytest.raises(UserError, match=r"stage\.json is damaged .*trainrelay doctor r/s$"):
        state.read(at(disk))
    before = everything(disk)
    with pytest.raises(UserError, match=r"nothing was written; .* trainrelay doctor r/s --write$"):
        doctor()
    assert everything(disk) == before
    shown = capsys.readouterr().out
    assert f'+  "work_dir": "{disk.paths.work_dir}"' in shown
    assert "r/s would be complete" in shown
    doctor(write=True)
    assert disk.paths.identity.read_bytes() == whole
    assert disk.paths.folder.joinpath("stage.json.damaged").read_bytes() == before[disk.paths.identity]
    doctor()
    assert state.current(at(disk)).kind == "complete"
    train_stage(at(disk))
    promote_stage(at(disk))
    assert disk.paths.target
    assert disk.paths.target.read_bytes() == WEIGHTS


def test_what_can_still_be_read_goes_before_what_the_config_asks_for_now(
    disk: OnDisk, doctor: Callable[..., None]
) -> None:
    truncated(disk.paths.identity, 0.9)
    doctor(write=True, config=disk.config(options={"optimizer.lr": 0.2}))
    judged = state.current(StageContext(disk.config(options={"optimizer.lr": 0.2}), "r", "s"))
    assert (judged.kind, [str(one) for one in judged.differences]) == (
        "changed",
        ["config: optimizer.lr: 0.1 -> 0.2"],
    )
    assert state.current(at(disk)).kind == "complete"


def test_a_config_that_train_json_contradicts_rebuilds_nothing(
    disk: OnDisk, doctor: Callable[..., None]
) -> None:
    train_stage(at(disk))
    truncated(disk.paths.identity, 0.0)
    before = everything(disk)
    with pytest.raises(Refusal, match=r"train\.json is of another training than the config asks for now"):
        doctor(write=True, config=disk.config(options={"optimizer.lr": 0.2}))
    assert {path: data for path, data in everything(disk).items() if "/.s/" not in str(path)} == before
    doctor(write=True)
    assert state.current(at(disk)).kind == "complete"


@pytest.mark.parametrize("gone", ["attempts", "owner", "neither"])
def test_without_stage_json_no_advice_moves_the_training_away_first(
    disk: OnDisk, doctor: Callable[..., None], gone: str
) -> None:
    """As after the `mv` that an earlier version named for a damaged one."""
    disk.paths.identity.rename(disk.paths.identity.with_suffix(".json.broken"))
    if gone == "attempts":
        disk.paths.folder.joinpath("attempts").rename(disk.base / "away")
    if gone == "owner":
        (disk.paths.work_dir / "owner.json").unlink()
    judged = state.current(at(disk))
    assert judged.kind == "foreign"
    assert re.search(r"stage\.json is missing, but .* run: trainrelay doctor r/s; or, to give", judged.reason)
    with pytest.raises(Refusal):
        train_stage(at(disk))
    doctor(write=True, as_configured=gone == "attempts")
    assert state.current(at(disk)).kind == ("resumable" if gone == "attempts" else "complete")


EDITS = {"an option": {"options": {"optimizer.lr": 0.2}}, "the trainer config": {}}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("left", [None, b"", b"{"], ids=["no stage.json", "an empty one", "a torn one"])
def test_an_edited_config_is_not_written_as_what_the_attempts_trained(
    disk: OnDisk, doctor: Callable[..., None], edit: dict, left: bytes | None
) -> None:
    disk.paths.identity.unlink()
    if left is not None:
        disk.paths.identity.write_bytes(left)
    if not edit:
        (disk.base / "checkout/a.py").write_text("optimizer = dict(lr=0.2)\n")
    with pytest.raises(Refusal, match=r"attempt 1 is of another training than the config asks for now"):
        doctor(write=True, config=disk.config(**edit), as_configured=True)
    assert disk.paths.identity.exists() == (left is not None)
    (disk.base / "checkout/a.py").write_text("optimizer = dict(lr=0.1)\n")
    doctor(write=True)
    assert state.current(at(disk)).kind == "complete"


def test_what_no_record_proves_is_written_only_once_you_say_so(
    disk: OnDisk, doctor: Callable[..., None], capsys
) -> None:
    """Attempts of an earlier version; the rest of stage.json is lost."""
    record = disk.paths.folder / "attempts/001/attempt.json"
    found = orjson.loads(record.read_bytes())
    ran = ["python", "tools/train.py", "a.py", "--cfg-options", "optimizer.lr=0.3"]
    record.write_bytes(orjson.dumps({**found, "signature": None, "argv": ran}))
    truncated(disk.paths.identity, 0.2)
    with pytest.raises(UserError, match=r"trainrelay doctor r/s --write --as-configured$"):
        doctor()
    said = capsys.readouterr().out
    assert "no record tells whether the config, the trainer config" in said
    assert "note: attempt 1 ran: python tools/train.py a.py --cfg-options optimizer.lr=0.3\n" in said
    assert re.search(r"note: the config asks for: .*tools/train\.py a\.py --launcher", said)
    with pytest.raises(Refusal, match=r"nothing was written; .* trainrelay doctor r/s --write --as-conf"):
        doctor(write=True)
    assert len(disk.paths.identity.read_bytes()) < 200
    doctor(write=True, as_configured=True)
    assert state.current(at(disk)).kind == "complete"


def test_ingredients_that_are_whole_need_no_proof(disk: OnDisk, doctor: Callable[..., None]) -> None:
    truncated(disk.paths.identity, 0.9)
    (disk.paths.folder / "attempts").rename(disk.base / "away")
    doctor(write=True, config=disk.config(options={"optimizer.lr": 0.2}))
    assert state.current(at(disk)).kind == "resumable"


def test_a_damaged_claim_of_the_lease_is_seen_and_put_beside(
    disk: OnDisk, doctor: Callable[..., None], capsys
) -> None:
    train_stage(at(disk))
    promote_stage(at(disk))
    claim = disk.paths.supervision / "lease/000001.json"
    claim.write_bytes(b"{")
    for called in (lambda: promote_stage(at(disk)), doctor):
        with pytest.raises(UserError) as caught:
            called()
        assert "trainrelay doctor r/s" in str(caught.value)
        assert " mv " not in str(caught.value)
    assert "000001.json is damaged" in capsys.readouterr().out
    doctor(write=True)
    assert claim.with_name("000001.json.damaged").read_bytes() == b"{"
    promote_stage(at(disk))


NEWER = {
    "format": lambda data: {**data, "format": 3},
    "a key": lambda data: {**data, "data_version": "x"},
    "both, and another kind of value": lambda data: {**data, "format": 3, "ingredients": ["x"], "later": 1},
}


@pytest.mark.parametrize("name", ["stage.json", "train.json", "attempts/001/attempt.json"])
@pytest.mark.parametrize("change", NEWER.values(), ids=NEWER)
def test_a_record_of_a_newer_version_is_left_to_that_one(
    disk: OnDisk, doctor: Callable[..., None], name: str, change: Callable[[dict], dict]
) -> None:
    train_stage(at(disk))
    path = disk.paths.folder / name
    path.write_bytes(orjson.dumps(change(orjson.loads(path.read_bytes()))))
    before = everything(disk)
    for called in (lambda: state.read(at(disk)), doctor, lambda: doctor(write=True)):
        with pytest.raises(UserError) as caught:
            called()
        assert str(caught.value).endswith("; use the version of trainrelay that wrote it")
        assert " mv " not in str(caught.value)
    assert {path: data for path, data in everything(disk).items() if "/.s/" not in str(path)} == before


@pytest.mark.parametrize(
    "name", ["train.json", "checkpoint.json", "accepted.json", "promoted.json", "attempts/001/attempt.json"]
)
def test_other_damaged_records_are_kept_beside_and_nothing_is_retrained(
    disk: OnDisk, doctor: Callable[..., None], name: str
) -> None:
    train_stage(at(disk))
    promote_stage(at(disk))
    path = disk.paths.folder / name
    path.write_bytes(b"{")
    with pytest.raises(UserError, match="nothing was written"):
        doctor()
    if name == "promoted.json":
        with pytest.raises(UserError, match=r"run: trainrelay doctor r/s$"):
            promote_stage(at(disk))
    doctor(write=True)
    assert path.with_name(f"{path.name}.damaged").read_bytes() == b"{"
    assert not path.exists()
    assert state.current(at(disk)).kind == "complete"
    train_stage(at(disk))
    assert disk.paths.train.exists()


@pytest.mark.parametrize("also", ["stage.json", None])
def test_a_damaged_owner_json_is_rebuilt(disk: OnDisk, doctor: Callable[..., None], also: str | None) -> None:
    owner = disk.paths.work_dir / "owner.json"
    owner.write_bytes(b"\0" * 200)
    if also:
        disk.paths.identity.write_bytes(b"\0" * 200)
    doctor(write=True)
    found, identity = read_record(owner, Owner), read_record(disk.paths.identity, Identity)
    assert found
    assert identity
    assert found.id == identity.owner
    assert not found.was_empty  # not known any more, so nothing moves it
    assert state.current(at(disk)).kind == "complete"


def test_takeovers_are_found_by_their_work_dirs(disk: OnDisk, doctor: Callable[..., None]) -> None:
    taken = disk.paths.work_dir.with_name("work_dir.taken-7")
    taken.mkdir()
    (taken / "epoch_2.pth").write_bytes(WEIGHTS)
    write_json(taken / "owner.json", Owner(id=OWNER, was_empty=True, folder="x"))
    disk.paths.identity.unlink()
    doctor(write=True)
    identity = read_record(disk.paths.identity, Identity)
    assert identity
    assert identity.takeovers == (Takeover(token=7, after_epoch=2),)
    assert state.read(at(disk)).work_dirs.current == taken


def test_the_work_dir_of_another_training_is_not_made_ours(disk: OnDisk, doctor: Callable[..., None]) -> None:
    outside = disk.config(work_dir=str(disk.base / "w"))
    (disk.base / "w").mkdir()
    write_json(disk.base / "w/owner.json", Owner(id="d" * 32, was_empty=True, folder="/another/stage"))
    disk.paths.identity.write_bytes(b"")
    with pytest.raises(Refusal, match="belongs to another training, that of '/another/stage'"):
        doctor(write=True, config=outside)
    assert disk.paths.identity.read_bytes() == b""


@pytest.mark.process
def test_nothing_is_written_beside_a_living_process_of_the_stage(
    disk: OnDisk, doctor: Callable[..., None]
) -> None:
    child = subprocess.Popen(["sleep", "600"], env={**os.environ, "TRAINRELAY_ATTEMPT": "a tag"})
    try:
        known = Processes(tag="a tag", place=here(), known=())
        write_json(disk.paths.folder / "attempts/001" / PROCESSES, known)
        disk.paths.identity.write_bytes(b"")
        with pytest.raises(Refusal, match=f"nothing was written; .*kill {child.pid}"):
            doctor(write=True)
        assert disk.paths.identity.read_bytes() == b""
    finally:
        child.kill()
        child.wait()


def test_a_work_dir_that_moved_with_its_stage_is_ours_and_a_copy_of_anothers_is_not(
    disk: OnDisk, doctor: Callable[..., None], capsys
) -> None:
    disk.paths.identity.unlink()
    (disk.paths.folder / "attempts").rename(disk.base / "away")  # so that no record has the signature
    owner, another = disk.paths.work_dir / "owner.json", disk.base / "another/stage"
    write_json(owner, Owner(id=OWNER, was_empty=True, folder=str(another)))
    assert "trainrelay doctor r/s" in state.current(at(disk)).reason
    another.mkdir(parents=True)
    assert "belongs to another training" in state.current(at(disk)).reason
    doctor()
    assert "r/s is foreign: " in capsys.readouterr().out


def test_a_damaged_attempt_of_an_archive_is_found_too(disk: OnDisk, doctor: Callable[..., None]) -> None:
    disk.paths.folder.rename(disk.paths.folder.with_name("s.old-1"))
    path = disk.paths.folder.with_name("s.old-1") / "attempts/001/attempt.json"
    path.write_bytes(b"{")
    with pytest.raises(UserError, match=r"attempt\.json .*run: trainrelay doctor r/s"):
        stage_plan(at(disk))
    doctor(write=True)
    assert stage_plan(at(disk)).action == "train"


def test_a_damaged_archive_loses_no_file(disk: OnDisk, doctor: Callable[..., None]) -> None:
    disk.paths.folder.rename(disk.paths.folder.with_name("s.old-1"))
    path = disk.paths.folder.with_name("s.old-1") / "stage.json"
    path.write_bytes(b"{")
    with pytest.raises(UserError, match=r"s\.old-1/stage\.json .*run: trainrelay doctor r/s"):
        stage_plan(at(disk))
    doctor(write=True)
    assert state.current(at(disk)).kind == "fresh"
    assert (path.parent / "work_dir/epoch_2.pth").read_bytes() == WEIGHTS


def test_escapes_in_a_damaged_record_do_not_reach_the_terminal(
    disk: OnDisk, doctor: Callable[..., None], capsys
) -> None:
    disk.paths.identity.write_bytes(b'{"run": "\x1b[31m')
    with pytest.raises(TrainrelayError):
        doctor()
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "left",
    [
        b'{"ingredients": [1',
        b'{"ingredients": {"a": 1}, "format": true,',
        b'{"format": [1], "owner": 5, "takeovers": "x", "run": "another", "stage": "x", ',
        b'{"owner": "' + b"d" * 32 + b'", "initial_checkpoint": {"path": "x", ',
        b"[" * 100_000,
        b'"a text',
        b"\xff\xfe{",
    ],
)
def test_whatever_is_left_of_it_what_is_written_is_a_record(
    disk: OnDisk, doctor: Callable[..., None], left: bytes
) -> None:
    disk.paths.identity.write_bytes(left)
    with pytest.raises(UserError, match="nothing was written"):
        doctor()
    doctor(write=True)
    identity = read_record(disk.paths.identity, Identity)
    assert identity
    assert (identity.run, identity.stage, identity.owner) == ("r", "s", OWNER)
    assert state.current(at(disk)).kind == "complete"


def test_a_stage_that_is_called_lease_is_rebuilt_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    data = disk.config().model_dump(mode="json", by_alias=True)
    data["runs"]["r"]["stages"] = {"lease": data["runs"]["r"]["stages"]["s"]}
    disk.paths.folder.rename(disk.paths.folder.with_name("lease"))
    path = disk.paths.folder.with_name("lease") / "stage.json"
    path.write_bytes(b"{")
    monkeypatch.setattr(common, "configured", lambda _: parse(data))
    stage.doctor(argparse.Namespace(where="r/lease", write=True, as_configured=False))
    assert read_record(path, Identity)
