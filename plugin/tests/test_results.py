"""Result files, as submitit writes them and as they may be damaged."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_submitit.status import Result, read_result


def written(folder: Path, value: Any, name: str = "7_0_result.pkl") -> Path:
    (folder / name).write_bytes(pickle.dumps(value))
    return folder


def test_what_a_job_says_is_read_back(tmp_path: Path) -> None:
    """The end and its reason."""
    result = Result("failed", "its command ended with exit status 1")
    assert read_result(written(tmp_path, ("success", asdict(result))), "7") == result
    assert read_result(tmp_path, "6") is None


def test_whichever_leg_wrote_it_the_result_is_the_jobs(tmp_path: Path) -> None:
    written(tmp_path, ("success", asdict(Result("done", ""))), "17_3_0_result.pkl")
    assert read_result(tmp_path, "17") == Result("done", "")
    assert read_result(tmp_path, "7") is None


def test_no_file_and_no_folder_are_no_result(tmp_path: Path) -> None:
    """The job may not have started."""
    assert read_result(tmp_path, "7") is None
    assert read_result(tmp_path / "none", "7") is None


def test_a_job_that_broke_ends_with_its_last_line(tmp_path: Path) -> None:
    """submitit pickles a traceback; the user gets its last line."""
    written(tmp_path, ("error", "Traceback ...\nOSError: No space left on device\n"))
    assert read_result(tmp_path, "7") == Result(
        "failed", "the job itself broke: OSError: No space left on device"
    )


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil"),))


@pytest.mark.parametrize("value", [("success", Evil()), ("success", {"end": "great"}), "x", ("success", 3)])
def test_a_damaged_or_hostile_file_is_a_failure_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    """Never a success, never code."""
    monkeypatch.chdir(tmp_path)
    result = read_result(written(tmp_path, value), "7")
    assert result is not None
    assert result.end == "failed"
    assert not Path("evil").exists()


def test_a_truncated_file_is_a_failure(tmp_path: Path) -> None:
    """A full disk may leave one."""
    path = written(tmp_path, ("success", {"end": "done", "reason": ""})) / "7_0_result.pkl"
    path.write_bytes(path.read_bytes()[:-5])
    result = read_result(tmp_path, "7")
    assert result is not None
    assert result.end == "failed"
