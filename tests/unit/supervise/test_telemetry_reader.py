"""What is made of the files in which ranks report their steps."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support.attempts import an_attempt
from trainrelay.errors import Fenced
from trainrelay.supervise import telemetry
from trainrelay.supervise.hook import Hook
from trainrelay.supervise.telemetry import (
    EVERY_S,
    SILENT_AFTER_S,
    RankTelemetry,
    Telemetry,
    TelemetryReader,
    newest_telemetry,
    standing,
)
from trainrelay.trainers import StepSeen
from trainrelay_hook import files

PLAIN = {"format": 1, "rank": 0, "host": "node1", "at_s": 1.8e9, "steps": 8, "batches": 9, "waiting": 0}
PLAIN |= {"passes": 2, "iteration": 3, "iterations": 5, "step_s": 0.5, "data_s": 0.05, "memory_bytes": 10**9}


def a_rank(rank: int, steps: int, host: str = "node1", **other: Any) -> RankTelemetry:
    return RankTelemetry.model_validate({**PLAIN, "rank": rank, "steps": steps, "host": host, **other})


class Attempt:
    """Ranks that report, and the reader of what they do; `now_s` moves by the time between two looks."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.hook = folder, Hook(folder, 2)
        self.hook.switched({}, on=True)
        self.reader, self.now_s = TelemetryReader(folder, self.hook), 1000.0

    def report(self, rank: int, **what: Any) -> None:
        text = json.dumps({**PLAIN, "rank": rank, **what})
        (self.folder / files.FOLDER / files.TELEMETRY.format(rank)).write_text(text)

    def look(self) -> bool:
        self.now_s += EVERY_S
        return self.reader.look(self.now_s)

    def lines(self) -> list[str]:
        path = self.folder / "telemetry.jsonl"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    """Of two ranks, neither of which has reported."""
    return Attempt(tmp_path)


def test_a_step_or_a_batch_of_any_rank_is_progress(attempt: Attempt) -> None:
    """The first look is none: nobody saw when that was done; nor is another time or memory."""
    assert not attempt.look()
    attempt.report(0)
    assert not attempt.look()
    attempt.report(0, memory_bytes=7, at_s=1.9e9, waiting=1)
    assert not attempt.look()
    attempt.report(0, steps=9)
    assert attempt.look()
    attempt.report(0, steps=9, batches=10)
    assert attempt.look()
    attempt.report(0, steps=3)
    assert not attempt.look()


def test_they_are_read_every_10_s(attempt: Attempt) -> None:
    """The supervisor looks many times a second."""
    attempt.look()
    attempt.report(0)
    attempt.reader.look(attempt.now_s + EVERY_S / 2)
    assert attempt.reader.newest is None


def test_each_look_with_news_is_a_line(attempt: Attempt) -> None:
    """All ranks in one; what is read back is the last one."""
    attempt.report(0)
    attempt.report(1, steps=7)
    attempt.look()
    attempt.look()
    attempt.report(1, steps=8)
    attempt.look()
    assert len(attempt.lines()) == 2
    newest = newest_telemetry(attempt.folder)
    assert newest == attempt.reader.newest
    assert newest is not None
    assert [one.steps for one in newest.ranks] == [8, 8]


def test_the_file_stays_small(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older, the fewer lines are left; the newest one stays."""
    monkeypatch.setattr(telemetry, "MOST_BYTES", 20_000)
    for steps in range(300):
        attempt.report(0, steps=steps)
        attempt.look()
        assert (attempt.folder / "telemetry.jsonl").stat().st_size <= 20_000
    kept = [json.loads(line)["ranks"][0]["steps"] for line in attempt.lines()]
    assert kept == sorted(kept)
    assert kept[0] < 150 < kept[-1] == 299


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"format": 2}', json.dumps({**PLAIN, "steps": -1})),
        *(json.dumps({**PLAIN, "step_s": float("nan")}), json.dumps({**PLAIN, "host": "a\x1b[31m"})),
        json.dumps({**PLAIN, "steps": 10**400}),
    ],
)
def test_what_is_no_report_is_left_out(attempt: Attempt, content: str) -> None:
    """Damaged, of a later version, or hostile; here and in the line that is kept."""
    (attempt.folder / files.FOLDER / files.TELEMETRY.format(0)).write_text(content)
    assert not attempt.look()
    (attempt.folder / "telemetry.jsonl").write_text(content + "\n")
    assert newest_telemetry(attempt.folder) is None


@pytest.mark.parametrize("hostile", ["a pipe", "a link", "a folder"])
def test_what_is_no_file_blocks_nobody(attempt: Attempt, hostile: str, tmp_path: Path) -> None:
    """Neither reading nor writing; what a link names stays as it is."""
    other = tmp_path / "other"
    other.write_text("mine")
    for path in (attempt.folder / "telemetry.jsonl", attempt.folder / files.FOLDER / "telemetry-1.json"):
        {"a pipe": os.mkfifo, "a link": lambda name: name.symlink_to(other), "a folder": Path.mkdir}[hostile](
            path
        )
    attempt.report(0)
    attempt.look()
    assert attempt.reader.newest is not None
    assert newest_telemetry(attempt.folder) is None
    assert other.read_text() == "mine"


def test_a_fenced_supervisor_writes_nothing(attempt: Attempt) -> None:
    """The stage is another's by now."""

    def fenced() -> None:
        raise Fenced("taken over")

    attempt.report(0)
    assert not TelemetryReader(attempt.folder, attempt.hook, fenced).look(1.0)
    assert not attempt.lines()


@pytest.mark.parametrize(
    ("ranks", "silent", "said"),
    [
        ([], set(), None),
        ([a_rank(rank, 7) for rank in range(4)], set(), "all ranks are at step 7"),
        (
            [a_rank(0, 8), a_rank(1, 8), a_rank(2, 7, "node2"), a_rank(3, 8, "node2")],
            set(),
            "rank 2 on node2 is at step 7, the others at step 8",
        ),
        (
            [a_rank(0, 8), a_rank(1, 7), a_rank(2, 7, "node2"), a_rank(3, 6, waiting=1)],
            {0},
            "rank 3 on node1 is at step 6 (waiting for a batch), rank 0 on node1 is at step 8 (silent),"
            " the others at step 7",
        ),
        (
            [a_rank(0, 7), a_rank(1, 7), a_rank(2, 7)],
            set(),
            "rank 3 is at no step (it reported nothing), the others at step 7",
        ),
        (
            [a_rank(0, 7), a_rank(1, 8), a_rank(2, 8, "node2"), a_rank(3, 7, "node2")],
            set(),
            "ranks 0, 3 are at step 7, the others at step 8",
        ),
    ],
)
def test_where_the_ranks_are_in_one_sentence(
    ranks: list[RankTelemetry], silent: set[int], said: str | None
) -> None:
    """Those that differ from most come first."""
    assert standing({one.rank: one for one in ranks}, silent, range(4)) == said


def test_of_many_ranks_some_are_named() -> None:
    known = {rank: a_rank(rank, 7 if rank < 20 else 8) for rank in range(64)}
    said = standing(known, set(), range(64))
    assert said == "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 12 more on node1 are at step 7, the others at step 8"


def test_a_rank_that_stopped_reporting_is_named(attempt: Attempt) -> None:
    """By this supervisor's clock, not by the rank's."""
    attempt.report(0)
    attempt.report(1)
    attempt.look()
    attempt.now_s += SILENT_AFTER_S
    attempt.report(0, at_s=1.7e9)
    assert attempt.reader.standing(attempt.now_s + EVERY_S, []) == (
        "rank 1 on node1 is at step 8 (silent), rank 0 on node1 at step 8"
    )


def test_in_words_and_as_a_progress_line() -> None:
    """Of the slowest rank, and of the one that waits most; a pass over the data is taken for an epoch."""
    both = Telemetry(at_s=1.0, ranks=(a_rank(0, 8), a_rank(1, 7, step_s=0.4, data_s=0.1)))
    assert str(both) == "step 8, 0.5 s per step, data 25 %"
    attempt = an_attempt(1)
    assert both.progress(attempt) == StepSeen(2, 3, 5, None, None)
    none = Telemetry(at_s=1.0, ranks=(a_rank(0, 0, passes=0, iterations=0, iteration=0, step_s=0, data_s=0),))
    assert (str(none), none.progress(attempt)) == ("step 0", None)


@pytest.mark.parametrize(
    ("what", "speed"),
    [
        ({}, 2),
        ({"steps": 4}, 4),  # two batches a step
        ({"passes": 0, "iteration": 0, "iterations": 0, "batches": 0}, 2),  # no data loader
        ({"passes": 9}, 2),  # one that is begun again and again
        ({"steps": 8, "passes": 1, "iteration": 4, "iterations": 9000}, 2),  # resumed within a pass
        ({"steps": 0, "step_s": 0}, None),
    ],
)
def test_iterations_per_second_are_batches_where_they_can_be_counted(
    what: dict[str, int], speed: float | None
) -> None:
    assert Telemetry(at_s=1.0, ranks=(a_rank(0, **{"steps": 8, **what}),)).iterations_per_s == speed


@pytest.mark.parametrize("what", [{"passes": 99}, {"iterations": 0}, {"iterations": 2}])
def test_a_place_that_cannot_be_is_none(what: dict[str, int]) -> None:
    """A data loader that is read again and again, or without a length."""
    assert Telemetry(at_s=1.0, ranks=(a_rank(0, 8, **what),)).progress(an_attempt(1)) is None
