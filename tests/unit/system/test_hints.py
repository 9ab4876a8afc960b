"""Commands inside messages name the config that the message is about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.stage_on_disk import OnDisk
from trainrelay import cli
from trainrelay.config import load_config, save_snapshot
from trainrelay.operations.train_record import write_train_record
from trainrelay.system.hints import (
    PROFILE_VARIABLE,
    TYPED_VARIABLE,
    last_config,
    use_config,
    use_profile,
    with_configfile,
)
from trainrelay.system.say import Teller
from trainrelay.training.context import StageContext
from trainrelay.training.launch_id import LAUNCH_VARIABLE, begin
from trainrelay.training.state import read


@pytest.mark.parametrize("verb", ["accept", "doctor", "stop", "watch", "restore"])
def test_a_command_names_a_config_that_is_not_the_default(verb: str) -> None:
    said = f"look with: trainrelay {verb} uniad/stage1 --x"
    expected = f"look with: trainrelay {verb} uniad/stage1 --configfile 'my config.yaml' --x"
    assert with_configfile(said, Path("my config.yaml")) == expected
    assert with_configfile(said, Path("config.yaml")) == said


@pytest.mark.process
@pytest.mark.parametrize("verb", ["plan", "check", "analyze", "watch"])
def test_in_a_folder_that_was_deleted_every_verb_says_so(tmp_path: Path, verb: str) -> None:
    code = (
        f"import os, sys; os.rmdir(os.getcwd()); from trainrelay.cli import main; sys.exit(main(['{verb}']))"
    )
    argv = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "the folder that you are in was deleted" in done.stderr


def test_a_number_after_the_stage_stays_with_it() -> None:
    said = with_configfile("run: trainrelay restore uniad/stage1 12; or wait", Path("my.yaml"))
    assert said == "run: trainrelay restore uniad/stage1 12 --configfile my.yaml; or wait"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("run: snakemake --profile local; or", "run: snakemake --profile local --configfile my.yaml; or"),
        (
            "run: snakemake --profile /home/p/cluster.yaml --forcerun promote_s",
            "run: snakemake --profile /home/p/cluster.yaml --forcerun promote_s --configfile my.yaml",
        ),
        (
            "run: snakemake --profile local --forcerun 'my runs/r/s/train.json'; or",
            "run: snakemake --profile local --forcerun 'my runs/r/s/train.json' --configfile my.yaml; or",
        ),
        (
            "x; run: snakemake --profile local --forcerun /runs/r/s/train.json; or",
            "x; run: snakemake --profile local --forcerun /runs/r/s/train.json --configfile my.yaml; or",
        ),
        ("run: snakemake --unlock", "run: snakemake --unlock --configfile my.yaml"),
        ("(snakemake --profile slurm)", "(snakemake --profile slurm --configfile my.yaml)"),
        ("trainrelay plan shows where", "trainrelay plan --configfile my.yaml shows where"),
        ("run the snakemake command again", "run the snakemake command again"),
    ],
)
def test_a_command_without_a_stage_names_it_too(
    said: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where no snakemake ran: the clone may know a profile from `make demo`
    assert with_configfile(said, Path("my.yaml")) == expected


@pytest.mark.parametrize("typed", ["--profile slurm", "--profile=slurm", "-n --profile slurm --quiet"])
def test_a_job_names_the_profile_of_its_snakemake(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in (PROFILE_VARIABLE, LAUNCH_VARIABLE):
        monkeypatch.setenv(variable, "")  # put back at the end
        monkeypatch.delenv(variable)
    said = "run: snakemake --profile local --forcerun train_s"
    assert with_configfile(said, None) == said
    for words in (f"snakemake {typed}", "snakemake --profile other"):  # the second one inside the job
        monkeypatch.setattr("sys.argv", words.split())
        begin()
    assert with_configfile(said, None) == "run: snakemake --profile slurm --forcerun train_s"


def test_a_verb_names_the_profile_of_the_last_snakemake_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PROFILE_VARIABLE, "")  # put back at the end
    use_profile("slurm")
    monkeypatch.delenv(PROFILE_VARIABLE)
    said = "run: snakemake --profile local --forcerun train_s"
    assert with_configfile(said, None) == "run: snakemake --profile slurm --forcerun train_s"
    (last,) = (path for path in tmp_path.rglob("profile") if path.is_file())
    for odd in (b"\xff\xfe", b"a b; rm x"):
        last.write_bytes(odd)
        assert with_configfile(said, None) in (
            said,
            "run: snakemake --profile 'a b; rm x' --forcerun train_s",
        )
    last.unlink()
    os.mkfifo(last)
    assert with_configfile(said, None) == said


@pytest.fixture
def typed_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config `my.yaml` of a blocked training, and nothing that names it yet."""
    monkeypatch.delenv(TYPED_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    write_train_record(read(StageContext(disk.config(), "r", "s")))
    (disk.paths.folder / "attempts/001/trainer.log").unlink()
    (tmp_path / "my.yaml").write_text(json.dumps(disk.config().model_dump(mode="json", by_alias=True)))
    return Path("my.yaml")


@pytest.mark.process
def test_a_job_names_the_config_that_was_typed_and_not_its_snapshot(
    typed_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(typed_config)
    for variable in (TYPED_VARIABLE, LAUNCH_VARIABLE):
        monkeypatch.setenv(variable, "")  # put back at the end
        monkeypatch.delenv(variable)
    begin([typed_config.absolute()])  # as Snakemake tells it
    begin(["/elsewhere/my.yaml"])  # the Snakemake inside the job
    assert cli.main(["promote", "r/s", "--configfile", str(save_snapshot(config))]) == 2
    assert "trainrelay accept r/s --configfile my.yaml --reason" in capsys.readouterr().err


def test_a_config_that_is_wrong_by_now_is_named_as_it_was_typed(
    typed_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What links lead to can change after the submission; its job judges the snapshot again."""
    snapshot = save_snapshot(load_config(typed_config))
    monkeypatch.setenv(TYPED_VARIABLE, str(typed_config.absolute()))
    target = load_config(snapshot).runs["r"].trainer.root
    link = Path(target) / "ckpts"
    link.symlink_to(Path.cwd() / "elsewhere")
    data = json.loads(snapshot.read_text())
    stages = data["runs"]["r"]["stages"]
    other = str(Path.cwd() / "elsewhere/s.pth")
    stages["t"] = {**stages["s"], "promotion": {"target": other, "overwrite": False}}
    snapshot.write_text(json.dumps(data))
    assert cli.main(["promote", "r/s", "--configfile", str(snapshot)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("trainrelay: my.yaml: 1 problem")
    assert ".snakemake" not in said


def test_all_that_is_said_names_the_config(
    typed_config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tell = Teller()
    tell.begin(tmp_path / "log", typed_config)
    tell("trainrelay stop r/s the training")
    assert "trainrelay stop r/s --configfile my.yaml the training" in capsys.readouterr().err
    assert "--configfile my.yaml" in (tmp_path / "log").read_text()


def test_the_config_of_what_runs_here_is_remembered_while_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert last_config() == Path("config.yaml")
    mine = tmp_path / "my müddle.yaml"
    mine.touch()
    use_config(mine)
    assert last_config() == mine
    mine.unlink()
    assert last_config() == Path("config.yaml")
