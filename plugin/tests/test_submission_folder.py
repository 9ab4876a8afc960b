"""What a submission leaves in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.errors import RefusedError, UnreachableError
from snakemake_executor_plugin_submitit.slurm import QueueRow
from snakemake_executor_plugin_submitit.submission import can_be_followed

UNNAMED = "unnamed.pkl"


def job(number: int, state: str = "RUNNING") -> QueueRow:
    return QueueRow(str(number), state, "None", "", "(null)", "", "")


def test_a_job_gets_the_pickle_that_sbatch_left_unnamed(tmp_path: Path) -> None:
    """By the name under which submitit looks for it, once; a job without one runs nothing."""
    assert not can_be_followed(tmp_path, job(7))
    (tmp_path / "6_0_result.pkl").touch()
    assert not can_be_followed(tmp_path, job(7))
    (tmp_path / UNNAMED).write_bytes(b"a command")
    assert can_be_followed(tmp_path, job(7))
    assert (tmp_path / "7_submitted.pkl").read_bytes() == b"a command"
    assert can_be_followed(tmp_path, job(7))
    assert not can_be_followed(tmp_path, job(8))


def test_a_pickle_that_cannot_be_renamed_is_looked_at_again(tmp_path: Path) -> None:
    """sbatch has made the job: it is no refusal, which would leave the job to itself."""
    (tmp_path / UNNAMED).touch()
    (tmp_path / "7_submitted.pkl").mkdir()
    with pytest.raises(UnreachableError, match=r"job 7 was submitted, but its files in .* cannot be written"):
        can_be_followed(tmp_path, job(7))


def test_a_job_with_a_result_has_ended(tmp_path: Path) -> None:
    """Whatever squeue still says, and however the result reads."""
    (tmp_path / "7_submitted.pkl").touch()
    (tmp_path / "7_0_result.pkl").touch()
    assert not can_be_followed(tmp_path, job(7))


def test_a_live_job_without_its_folder_is_named(tmp_path: Path) -> None:
    """Neither followed nor forgotten: its result would never be seen, and a second one must not run."""
    with pytest.raises(RefusedError, match=r"run: scancel 7$"):
        can_be_followed(tmp_path / "gone", job(7))
    assert not can_be_followed(tmp_path / "gone", job(7, "COMPLETING"))


def test_a_live_job_that_was_submitted_where_nothing_is_now_is_named(tmp_path: Path) -> None:
    """Its folder may have been moved here with all that is in it; the result would go to the old path."""
    (tmp_path / "7_submitted.pkl").touch()
    assert can_be_followed(tmp_path, replace(job(7), workdir=str(tmp_path)))
    with pytest.raises(RefusedError, match=r"its folder /gone is gone: .* run: scancel 7$"):
        can_be_followed(tmp_path, replace(job(7), workdir="/gone"))
