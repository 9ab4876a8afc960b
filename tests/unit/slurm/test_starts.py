"""When a request could start, from what `sbatch --test-only` prints."""

from __future__ import annotations

from datetime import datetime

import pytest

from trainrelay.slurm.ask import Start, start_of

NOW = datetime(2026, 1, 31, 10, 0, 0)


def test_time_place_and_partition_are_read() -> None:
    said = (
        "sbatch: Job 8 to start at 2026-01-31T13:20:00 using 40 processors on nodes n[1-2] in partition gpu\n"
    )
    start = start_of(said)
    assert start == Start(datetime(2026, 1, 31, 13, 20), "n[1-2]", "gpu")
    assert start.words(NOW) == "2026-01-31 13:20 (in 3 h 20 min), on n[1-2] (partition gpu)"


def test_an_older_slurms_sentence_is_read_too() -> None:
    said = "sbatch: Job 21 to start at 2026-01-31T10:00:30 using 2 processors on n1\n"
    assert start_of(said).words(NOW) == "now, on n1"


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("2026-01-31T09:00:00", "now"),
        ("2026-01-31T10:45:00", "2026-01-31 10:45 (in 45 min)"),
        ("2026-02-02T13:00:00", "2026-02-02 13:00 (in 2 d 3 h)"),
        ("N/A", "at a time that Slurm does not tell"),
        ("\x1b[31m", "at a time that Slurm does not tell"),
    ],
)
def test_a_time_is_told_as_a_person_says_it(at: str, words: str) -> None:
    assert start_of(f"sbatch: Job 8 to start at {at} using 1 processors on nodes (null)").words(NOW) == words


@pytest.mark.parametrize("said", ["", "lua: welcome", "sbatch: INFO: your quota is 80% used\n"])
def test_an_accepted_request_without_a_time_is_still_accepted(said: str) -> None:
    assert start_of(said) == Start(None)


def test_what_a_site_prints_before_it_is_passed_over() -> None:
    start = "sbatch: Job 8 to start at 2026-01-31T10:00:00 using 1 processors on n1"
    assert start_of(f"sbatch: lua: using project x\n{start}\n").nodes == "n1"
