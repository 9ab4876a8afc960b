"""`trainrelay submit` up to sbatch: what is asked for, what is refused."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.slurm import QueueRow
from trainrelay.cli import main
from trainrelay.cli.arguments import parser
from trainrelay.cli.submit import job_of, snakemake_arguments
from trainrelay.config import load_config, save_snapshot
from trainrelay.controller import locks
from trainrelay.controller.job import ControllerJob, comment_of
from trainrelay.errors import SlurmError
from trainrelay.operations import submit
from trainrelay.slurm.cluster import Partition
from trainrelay.system.hints import TYPED_VARIABLE

CONFIG = """\
runs:
  r:
    trainer: {kind: mmcv, nproc_per_node: 8}
    stages:
      s: {config: a.py, epochs: 2, resources: {gpu: 8}}
"""

Asked = tuple[list[str], str]  # flags and script


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project on a login node where nothing of ours runs; sbatch answers 12."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "Snakefile").touch()
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(submit, "installed", lambda: True)
    monkeypatch.setattr(submit, "live_jobs", list)
    monkeypatch.setattr(submit, "partitions", lambda: [Partition("gpu", True, True, 600)])
    return tmp_path


@pytest.fixture
def asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """What sbatch was asked, in order."""
    calls: list[Asked] = []

    def sbatch(flags: list[str], script: str) -> str:
        calls.append((flags, Path(script).read_text()))
        return "12"

    monkeypatch.setattr(submit, "sbatch", sbatch)
    return calls


def job(*words: str) -> ControllerJob:
    return job_of(parser().parse_args(["submit", *words]))


def arguments(*words: str) -> argparse.Namespace:
    return parser().parse_args(["submit", *words])


def test_a_slurm_that_does_not_answer_is_told_with_what_else_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def live_jobs() -> list[QueueRow]:
        raise SlurmError("squeue: Unable to contact slurm controller")

    monkeypatch.setattr(submit, "live_jobs", live_jobs)
    assert main(["submit"]) == 2
    err = capsys.readouterr().err
    assert "does not answer (squeue: Unable to contact slurm controller); nothing was submitted: run " in err
    assert err.endswith("or train here with snakemake --profile local\n")


def test_the_job_its_log_and_what_to_type_are_told(
    folder: Path, asked: list[Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit"]) == 0
    ((flags, script),) = asked
    assert capsys.readouterr().out.splitlines() == [
        "job 12 runs the workflow; it requeues itself at its time limit",
        f"  sbatch  {shlex.join([*flags, f'{folder}/.snakemake/trainrelay/controller.sh'])}",
        "  log     runs/controller-12.log",
        "  follow  trainrelay watch",
        "  stop    scancel 12   (the trainings save and end; submit again to resume)",
    ]
    assert (folder / "runs").is_dir()
    assert f"--chdir={folder}" in flags
    snapshot = save_snapshot(load_config(folder / "config.yaml"))
    assert script.endswith(f" -m trainrelay control --configfile {snapshot} --\n")
    assert f" {TYPED_VARIABLE}=config.yaml\n" in script


@pytest.mark.usefixtures("asked")
def test_what_is_not_used_of_your_environment_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SLURM_CONF", "SBATCH_ACCOUNT", "SBATCH_EXPORT"):
        monkeypatch.setenv(name, "x")
    assert main(["submit"]) == 0
    assert "SBATCH_ACCOUNT, SBATCH_EXPORT of your environment is not used" in capsys.readouterr().err


def test_a_live_controller_is_named_instead_of_a_second_one(
    folder: Path, asked: list[Asked], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        submit, "live_jobs", lambda: [QueueRow("9", "RUNNING", "None", "n1", comment_of(str(folder)))]
    )
    assert main(["submit"]) == 2
    said = capsys.readouterr().err
    assert "job 9 runs the workflow of this folder already (RUNNING, on n1); nothing was submitted" in said
    assert "runs/controller-9.log" in said
    assert "stop: scancel 9" in said
    script = f"{folder}/.snakemake/trainrelay/controller.sh"
    rewritten = QueueRow("9", "PENDING", "Priority", "", "site:checked", script=script)
    monkeypatch.setattr(submit, "live_jobs", lambda: [rewritten])
    assert main(["submit"]) == 2
    said = capsys.readouterr().err
    assert "job 9 waits to run the workflow of this folder (PENDING: Priority); nothing was submitted" in said
    assert not asked


def test_a_folder_that_a_person_works_in_is_left_alone(
    folder: Path, asked: list[Asked], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = folder / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("x")
    assert main(["submit"]) == 2
    assert "run: snakemake --unlock" in capsys.readouterr().err
    locks.write_note("5", locks.lock_files())
    monkeypatch.setattr(submit, "live_jobs", lambda: [QueueRow("5", "RUNNING", "None", "n1", "site:checked")])
    assert main(["submit"]) == 2
    assert not asked, "its controller lives, though in a folder of another name"
    monkeypatch.setattr(submit, "live_jobs", list)  # a controller job that is no more held it
    assert main(["submit"]) == 0
    assert len(asked) == 1


def test_without_sbatch_it_says_where_to_type_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(submit, "installed", lambda: False)
    assert main(["submit"]) == 2
    assert "there is no sbatch on this machine" in capsys.readouterr().err


def test_a_folder_without_a_snakefile_is_the_wrong_one(
    folder: Path, asked: list[Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "Snakefile").unlink()
    assert main(["submit"]) == 2
    assert "no Snakefile in this folder" in capsys.readouterr().err
    assert main(["submit", "--", "--snakefile", "other/Snakefile"]) == 0
    assert len(asked) == 1


def test_a_refusal_of_sbatch_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> str:
        raise SlurmError("Invalid partition name specified")

    monkeypatch.setattr(submit, "sbatch", refused)
    assert main(["submit"]) == 2
    assert capsys.readouterr().err == "trainrelay: Invalid partition name specified\n"


def test_the_section_controller_goes_before_the_site(folder: Path) -> None:
    assert (job().partition, job().time_min, job().mem_gb) == (None, 600, 4.0)
    (folder / "site.yaml").write_text("partition: gpu\naccount: me\nqos: high\nsetup: [module load x]\n")
    plain = job()
    assert (plain.partition, plain.account, plain.qos) == ("gpu", "me", "high")
    assert (plain.time_min, plain.setup[1:]) == (600, ("module load x",))
    site = (folder / "site.yaml").read_text()
    (folder / "site.yaml").write_text(
        site + "controller: {partition: cpu, qos: low, time_min: 30, mem_gb: 1.5}\n"
    )
    own = job()
    assert (own.partition, own.account, own.qos, own.time_min, own.mem_gb) == ("cpu", "me", "low", 30, 1.5)
    snapshot = str(save_snapshot(load_config(folder / "config.yaml")))
    assert own.command == ("control", "--configfile", snapshot, "--")


def test_snakemakes_own_arguments_stand_behind_two_dashes(folder: Path) -> None:
    assert snakemake_arguments(arguments()) == ["--profile", "slurm"]
    words = ["--profile", "slurm-chain", "--until", "train_s", "-n"]
    assert snakemake_arguments(arguments("--", *words)) == words
    assert job("--", *words).command[-6:] == ("--", *words)


def test_another_config_is_snakemakes_config_too(folder: Path) -> None:
    other = ("--configfile", "demo.yaml")
    assert snakemake_arguments(arguments(*other)) == ["--profile", "slurm", *other]
    given = ["--configfile", "mine.yaml"]
    assert snakemake_arguments(arguments(*other, "--", *given)) == given


def test_the_job_and_its_next_runs_read_the_config_that_was_submitted(
    folder: Path, asked: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit waits for the next `trainrelay submit`, also where the controller submits itself again."""
    before = load_config(folder / "config.yaml")
    (folder / "site.yaml").write_text("partition: cpu\n")
    assert main(["submit"]) == 0
    (folder / "config.yaml").write_text("runs: {half")
    (folder / "site.yaml").write_text("partition: [half")
    ((_, script),) = asked
    again = shlex.split(script.splitlines()[-1])
    inside = parser().parse_args(again[again.index("control") :])
    *_, configfile = snakemake_arguments(inside)
    assert load_config(Path(configfile)) == before
    for name, value in re.findall(r" (TRAINRELAY_\w+)=(\S+)", script):
        monkeypatch.setenv(name, value)
    submit.submit(job_of(inside, after="12"))
    assert asked[1][1] == script


@pytest.mark.usefixtures("asked")
def test_a_config_behind_two_dashes_is_read_again_and_the_user_hears_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["submit", "--", "--configfile=config.yaml"]) == 0
    assert "the --configfile behind -- is read again at each start of this job" in capsys.readouterr().out
