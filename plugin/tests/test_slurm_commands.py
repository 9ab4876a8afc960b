"""What Slurm's commands print, and what it means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.errors import LimitError, RefusedError, UnreachableError

ALLOCATION = {
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_MEM_PER_NODE": "2000", "SBATCH_PARTITION": "cpu",
    "SRUN_CPUS_PER_TASK": "4", "SUBMITIT_EXECUTOR": "slurm", "CUDA_VISIBLE_DEVICES": "0",
}  # fmt: skip


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def line(*columns: str) -> str:
    return "".join(f"{column}\x1f" for column in columns)


def test_squeue_rows_are_read_whatever_a_comment_or_a_path_holds() -> None:
    """Lines that are no rows are left out."""
    hostile = ("12", "RUNNING", "None", "node1", "a|b c", "/x |\u2028 ü/%j.out", "/x |'\"/s.sh")
    waiting = ("13", "PENDING", "Resources", "", "(null)", " /x", "(null)")
    rows = slurm.parse_queue("\n".join([line(*hostile), line(*waiting), "slurm_load_jobs: noise", "|||", ""]))
    assert rows == {"12": slurm.QueueRow(*hostile), "13": slurm.QueueRow(*waiting)}


def test_a_cancelled_job_is_cancelled_by_whomever() -> None:
    """sacct writes who did it into the state."""
    assert slurm.parse_accounting("12|CANCELLED by 1000\n13|TIMEOUT\n") == {
        "12": "CANCELLED",
        "13": "TIMEOUT",
    }


def test_a_users_own_defaults_do_not_hide_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQUEUE_PARTITION would; SLURM_CONF must stay."""
    row = line("1", "RUNNING", "${SQUEUE_PARTITION-none}", "n", "$SLURM_CONF", "", "")
    fake(tmp_path, monkeypatch, "squeue", f'echo "{row}"')
    monkeypatch.setenv("SQUEUE_PARTITION", "cpu")
    monkeypatch.setenv("SLURM_CONF", "conf")
    assert slurm.queue()["1"] == slurm.QueueRow("1", "RUNNING", "none", "n", "conf", "", "")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition", RefusedError),
        (
            "sbatch: error: Requested node configuration is not available",
            RefusedError,
        ),
        ("sbatch: error: Unable to contact slurm controller (connect failure)", UnreachableError),
        (
            "sbatch: error: Socket timed out on send/recv operation",
            UnreachableError,
        ),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", UnreachableError),
        ("", RefusedError),
    ],
)
def test_a_refusal_is_told_from_silence(said: str, kind: type[Exception]) -> None:
    """One is final, the other is asked again; either is one line."""
    error = slurm.failure("sbatch", said)
    assert type(error) is kind
    assert "\n" not in str(error)
    assert "error:" not in str(error)


POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's"
    " size and/or time limits)"
)


@pytest.mark.parametrize(
    "limit",
    [
        *("AssocMaxSubmitJobLimit", "AssocGrpSubmitJobsLimit", "QOSMaxSubmitJobPerUserLimit"),
        *("QOSGrpSubmitJobsLimit", "MaxSubmitJobsPerAccount"),
    ],
)
def test_a_limit_on_jobs_passes(limit: str) -> None:
    """Slurm's names of all five, in the line before the one that would be a refusal."""
    error = slurm.failure("sbatch", f"sbatch: error: {limit}\n{POLICY}\n")
    assert type(error) is LimitError
    assert str(error) == limit


@pytest.mark.parametrize("limit", ["QOSMaxWallDurationPerJobLimit", "QOSMaxGRESPerJob", ""])
def test_a_limit_on_size_or_time_never_passes(limit: str) -> None:
    """The policy's own line names every kind of limit and tells none."""
    assert type(slurm.failure("sbatch", f"sbatch: error: {limit}\n{POLICY}\n")) is RefusedError


def test_the_time_that_slurm_takes_for_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As slurmctld shows it; Slurm's default where that may not be seen; asked again if nobody answers."""
    slurm.message_timeout_s.cache_clear()
    fake(tmp_path, monkeypatch, "scontrol", "echo 'slurm_load_ctl_conf error: Socket timed out' >&2; exit 1")
    with pytest.raises(UnreachableError):
        slurm.message_timeout_s()
    fake(
        tmp_path, monkeypatch, "scontrol", "echo 'MaxArraySize = 1'; echo 'MessageTimeout          = 60 sec'"
    )
    assert slurm.message_timeout_s() == 60
    slurm.message_timeout_s.cache_clear()
    fake(tmp_path, monkeypatch, "scontrol", "echo 'Access/permission denied' >&2; exit 1")
    assert slurm.message_timeout_s() == 10
    slurm.message_timeout_s.cache_clear()


def test_a_command_that_is_missing_or_fails_says_nothing_about_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """squeue with an exit status is no empty queue."""
    fake(tmp_path, monkeypatch, "squeue", "echo 'slurm_load_jobs error: whatever' >&2; exit 1")
    with pytest.raises(UnreachableError, match="whatever"):
        slurm.queue()
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(UnreachableError, match="squeue did not answer"):
        slurm.queue()


def test_an_allocation_is_not_handed_on_to_a_job_that_is_submitted_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its number of tasks would be the job's; afterwards the environment is as it was."""
    for name, value in {**ALLOCATION, "SLURM_CONF": "conf", "PLAIN": "1"}.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with slurm.outside_of_allocation():
        left = {name for name in os.environ if name in {*ALLOCATION, "SLURM_CONF", "PLAIN"}}
    assert left == {"SLURM_CONF", "PLAIN"}
    assert dict(os.environ) == before


def test_a_users_defaults_outside_of_an_allocation_stay() -> None:
    """SBATCH_ACCOUNT in a login shell is meant."""
    assert slurm.inherited({"SBATCH_ACCOUNT": "me", "SLURM_CONF": "conf"}) == set()
