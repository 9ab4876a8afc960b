"""What a submission leaves in its folder."""

from __future__ import annotations

from pathlib import Path

from snakemake_executor_plugin_submitit.submissions import gives_pickle

UNNAMED = f"{'0a' * 16}.pkl"


def test_a_job_gets_the_pickle_that_sbatch_left_unnamed(tmp_path: Path) -> None:
    """By the name under which submitit looks for it, once; a job without one runs nothing."""
    assert not gives_pickle(tmp_path, "7")
    (tmp_path / "6_0_result.pkl").touch()
    assert not gives_pickle(tmp_path, "7")
    (tmp_path / UNNAMED).write_bytes(b"a command")
    assert gives_pickle(tmp_path, "7")
    assert (tmp_path / "7_submitted.pkl").read_bytes() == b"a command"
    assert gives_pickle(tmp_path, "7")
    assert not gives_pickle(tmp_path, "8")
    assert not gives_pickle(tmp_path / "gone", "7")
