"""Questions to Slurm through the plugin's asker; with small programs in the place of Slurm's."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.errors import NoAnswer, SlurmError
from trainrelay.preflight.cluster import slurmctld_check
from trainrelay.slurm.ask import Start, ask, could_start, ping, sbatch, setting

pytestmark = pytest.mark.process


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first one on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def write(path: Path, does: str) -> None:
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


def test_a_failure_is_one_sentence(program: Path) -> None:
    write(program / "sbatch", "echo 'sbatch: error: why' >&2; echo 'sbatch: error: what' >&2; exit 1")
    with pytest.raises(SlurmError, match=r"^what; why$"):
        ask(["sbatch"])
    with pytest.raises(SlurmError, match="no-such-program cannot be started"):
        ask(["no-such-program"])


def test_a_limit_on_jobs_says_when_to_try_again(program: Path) -> None:
    write(
        program / "sbatch",
        "echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2\n"
        "echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy' >&2; exit 1",
    )
    with pytest.raises(
        SlurmError, match=r"\(AssocMaxSubmitJobLimit\): run the same command again when one of"
    ):
        sbatch([], "script")
    assert could_start([]) == Start(None), "it says nothing of the request: no reason to change that"


def test_the_first_controller_that_is_up_answers(program: Path) -> None:
    write(program / "scontrol", "echo 'Slurmctld(primary) at a is DOWN'; echo 'Slurmctld(backup) at b is UP'")
    assert ping() == "Slurmctld(backup) at b is UP"
    shout = "echo '*****'; echo '** RESTORE SLURMCTLD DAEMON TO SERVICE **'; echo '*****'"
    write(program / "scontrol", f"echo 'Slurmctld(primary) at a is DOWN'; {shout}; exit 1")
    assert ping() is None
    write(
        program / "scontrol", "echo 'scontrol: fatal: Could not establish a configuration source' >&2; exit 1"
    )
    with pytest.raises(SlurmError, match="configuration source"):
        ping()


def test_a_squeue_that_does_not_know_our_options_is_found_beforehand(program: Path) -> None:
    """Snakemake would take it for a Slurm that is away, and ask for good."""
    write(program / "scontrol", "echo 'Slurmctld(primary) at here is UP'")
    write(program / "squeue", "echo \"squeue: unrecognized option '--me'\" >&2; exit 1")
    found = slurmctld_check()
    assert found.kind == "fix"
    assert "squeue does not list your jobs (squeue failed: unrecognized option '--me')" in found.what
    write(program / "squeue", "true")
    assert slurmctld_check().kind == "ok"


def test_how_slurm_tracks_processes_is_read(program: Path) -> None:
    write(program / "scontrol", "echo 'ProctrackType           = proctrack/cgroup'")
    assert setting("ProctrackType") == "proctrack/cgroup"
    write(program / "scontrol", "echo nothing")
    assert setting("ProctrackType") == ""


def test_a_job_that_is_submitted_sees_nothing_of_the_one_around(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        program / "sbatch",
        "echo $* >flags; env | grep -E '^(SLURM|SBATCH)' >env; echo Submitted batch job 12",
    )
    monkeypatch.chdir(program)
    for name in ("SLURM_JOB_ID", "SLURM_CONF", "SBATCH_ACCOUNT", "SBATCH_EXPORT"):
        monkeypatch.setenv(name, "x")
    assert sbatch(["--time=5"], "the script") == "12"
    assert (program / "flags").read_text() == "--time=5 the script\n"
    assert (program / "env").read_text() == "SLURM_CONF=x\n"


@pytest.mark.parametrize("said", ["", "Submitted batch job", "\\033[2J"])
def test_an_answer_without_a_number_is_no_job(program: Path, said: str) -> None:
    write(program / "sbatch", f"printf '{said}'")
    with pytest.raises(
        NoAnswer, match=r"sbatch named no job.*; a job may appear anyway: look with squeue --me"
    ):
        sbatch([], "")
