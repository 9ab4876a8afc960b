"""Whose lock of Snakemake's is taken away: only that of a controller job that is no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.controller import locks
from trainrelay.controller.locks import lock_state

LOCK = ".snakemake/locks/0.output.lock"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    return tmp_path


def test_no_lock_needs_nothing(folder: Path) -> None:
    assert lock_state("7", ["7"]) == "none"
    (folder / ".snakemake/locks").rmdir()
    assert lock_state("7", ["7"]) == "none"


def test_a_lock_of_a_person_stays(folder: Path) -> None:
    (folder / LOCK).write_text("x")
    assert lock_state("7", ["7"]) == "held"


def test_our_own_lock_of_an_earlier_run_is_taken_away(folder: Path) -> None:
    (folder / LOCK).write_text("x")
    locks.write_note("7", locks.lock_files())
    assert lock_state("7", ["7"]) == "stale"


def test_the_lock_of_a_job_that_is_no_more_is_taken_away_and_of_a_live_one_never(folder: Path) -> None:
    (folder / LOCK).write_text("x")
    locks.write_note("6", locks.lock_files())
    assert lock_state("7", ["7"]) == "stale"
    assert lock_state("7", ["6", "7"]) == "held"


def test_a_lock_that_a_person_made_after_our_job_died_stays(folder: Path) -> None:
    (folder / LOCK).write_text("x")
    locks.write_note("6", locks.lock_files())
    (folder / LOCK).unlink()
    (folder / "other").touch()  # so that the new file is not given the old one's inode
    (folder / LOCK).write_text("x")
    assert lock_state("7", ["7"]) == "held"


def test_a_second_lock_beside_ours_keeps_both(folder: Path) -> None:
    (folder / LOCK).write_text("x")
    locks.write_note("6", locks.lock_files())
    (folder / ".snakemake/locks/1.output.lock").write_text("y")
    assert lock_state("7", ["7"]) == "held"


def test_what_ended_well_leaves_no_note(folder: Path) -> None:
    locks.write_note("6", {})
    locks.remove_note()
    locks.remove_note()
    assert not (folder / ".snakemake/trainrelay/controller.json").exists()
