"""Logs whose lines the user describes: one table, as of any other format."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.analysis import DescribedLines, analyze, read
from trainrelay.errors import UnknownLogError
from trainrelay.progress_lines.described import LineReader, PatternReader, RowReader
from trainrelay.records import Expectation, Log, ResumePoint

MINE = (
    r"^val (?P<val_acc>\S+)",
    r"^epoch (?P<epoch>\d+) step (?P<iter>\d+)/(?P<iters>\d+) loss (?P<loss>\S+)",
)


def usual() -> LineReader:
    return PatternReader(MINE)


def rows() -> LineReader:
    return RowReader()


def table(folder: Path, *logs: str, first: int | None = None, kind: object = usual) -> Log:
    paths = []
    for number, text in enumerate(logs):
        paths.append(folder / f"{number}.log")
        paths[-1].write_text(text)
    reader = rows if kind is rows else usual
    return read(paths, own=DescribedLines(reader, first, one_start=reader is usual))


def epoch(number: int, iterations: range = range(1, 4), ranks: int = 1) -> str:
    lines = [f"epoch {number} step {i}/3 loss {1 / (3 * number + i + 1):.4f}\n" * ranks for i in iterations]
    return "".join([*lines, f"val {number / 10}\n"])


@pytest.mark.parametrize("counted_from", [0, 1])
@pytest.mark.parametrize("ranks", [1, 2])
def test_two_attempts_that_overlap_are_one_training(tmp_path: Path, counted_from: int, ranks: int) -> None:
    """Whatever epochs and iterations are counted from, and however many ranks print each line."""
    begin, end = counted_from, counted_from + 3
    cut = epoch(begin, ranks=ranks) + epoch(begin + 1, range(1, 2), ranks)
    rest = "".join(epoch(number, ranks=ranks) for number in range(begin + 1, end))
    log = table(tmp_path, "hello\n" + cut, rest, first=counted_from)
    trained = [row for row in log.rows if row.phase == "train"]
    assert [(row.epoch, row.iteration, row.step) for row in trained] == [
        (n // 3 + 1, n % 3 + 1, n + 1) for n in range(9)
    ]
    assert (log.segments, log.restarts, log.superseded, log.redone_iterations) == (2, 1, 0, 1)
    assert [(row.epoch, row.values["acc"]) for row in log.rows if row.phase == "val"][-1][0] == 3
    resumed = (ResumePoint(path="x", epoch=1),)
    found = analyze(log, Expectation(epochs=3, resumed=resumed, finished=True)).findings
    assert not [one for one in found if one.blocking]


def test_iterations_that_count_from_0_are_counted_from_1(tmp_path: Path) -> None:
    log = table(tmp_path, "".join(epoch(n, range(3)) for n in (1, 2)))
    assert [(row.iteration, row.step) for row in log.rows if row.phase == "train"][:4] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (1, 4),
    ]


def test_a_first_batch_that_is_logged_takes_nothing_from_the_epoch_before(tmp_path: Path) -> None:
    """Each eighth of 32 batches from the first on: how long an epoch is no line says."""
    batches = range(0, 32, 8)
    whole = ["".join(f"epoch {n} step {i} loss {1 / (n + i + 1)}\n" for i in batches) for n in range(4)]
    texts = [f"{text}val {n / 10}\n" for n, text in enumerate(whole)]
    paths = [tmp_path / "1.log", tmp_path / "2.log"]
    paths[0].write_text("".join([*texts[:2], texts[2].splitlines()[0], "\n"]))
    paths[1].write_text("".join(texts[2:]))
    mine = (MINE[0], MINE[1].replace("/(?P<iters>\\d+)", ""))
    log = read(paths, own=DescribedLines(lambda: PatternReader(mine), 0, one_start=True))
    assert [(row.epoch, row.iteration) for row in log.rows if row.phase == "train"] == [
        (epoch, batch + 1) for epoch in (1, 2, 3, 4) for batch in batches
    ]
    assert [row.epoch for row in log.rows if row.phase == "val"] == [1, 2, 3, 4]
    assert log.redone_iterations <= 2


def test_a_resume_that_begins_again_is_blocked(tmp_path: Path) -> None:
    log = table(tmp_path, epoch(0) + epoch(1), epoch(0) + epoch(1) + epoch(2), first=0)
    resumed = (ResumePoint(path="x", epoch=2),)
    found = analyze(log, Expectation(epochs=3, resumed=resumed, ended=("killed", "done"))).findings
    (finding,) = [one for one in found if one.blocking]
    assert finding.check == "resume"
    assert "begins again with the first epoch" in finding.message


def test_a_table_with_a_row_per_epoch_and_two_starts(tmp_path: Path) -> None:
    head = "epoch,train_loss,val_acc\n"
    text = f"{head}1,3.0,0.1\n2,2.0,0.2\n3,1.5,0.3\n{head}3,1.4,0.3\n4,1.2,0.4\n"
    log = table(tmp_path, text, kind=rows, first=1)
    assert log.epochs_only
    assert [(row.epoch, row.values["loss"]) for row in log.rows if row.phase == "train"] == [
        (1, 3.0),
        (2, 2.0),
        (3, 1.4),
        (4, 1.2),
    ]
    assert (log.restarts, log.superseded) == (1, 0)


def test_errors_are_found_and_a_slow_pattern_is_skipped_lines(tmp_path: Path) -> None:
    slow = DescribedLines(lambda: PatternReader([r"(a|aa)+$(?P<epoch>\d)", *MINE]), None, one_start=True)
    path = tmp_path / "a.log"
    path.write_text(
        epoch(1) + "a" * 300 + "b\n" + 'Traceback (most recent call last):\n  File "x"\nKeyError: 3\n'
    )
    log = read([path], own=slow)
    assert [marker.text for marker in log.markers] == ["KeyError: 3"]
    assert log.skipped_lines == 1


def test_a_log_that_nothing_describes_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownLogError, match="it begins: `hello`"):
        table(tmp_path, "hello\n")


QUOTED = "".join(f"    Epoch 1 iter {at}/500 loss {1 / at:.3f}\n" for at in (20, 40, 60))


@pytest.mark.parametrize(
    "page",
    [
        f"# Faults\n\nThe trainer prints:\n\n{QUOTED}\nThen it stops.\n",
        f"Faults\n\n```\n{QUOTED}```\n",
        "".join(f"The trainer prints a line such as these {n} for each\n" for n in range(7)) + QUOTED,
        QUOTED[:60] + "".join(f"- you may set `lr` to {n} then\n" for n in range(7)),
    ],
)
def test_a_page_that_quotes_a_log_is_none(tmp_path: Path, page: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(page)
    with pytest.raises(UnknownLogError):
        read([path])


def test_warnings_before_a_training_make_no_page_of_its_log(tmp_path: Path) -> None:
    """Each rank prints them, and a log that has many lines of a training may have many."""
    path = tmp_path / "a.log"
    same = "Please note that this option is deprecated and will be removed\n" * 20
    some = "".join(f"Please note that this option {n} is deprecated, set the other one\n" for n in range(9))
    path.write_text(same + QUOTED)
    assert read([path]).rows
    path.write_text(some + QUOTED + QUOTED.replace("Epoch 1", "Epoch 2"))
    assert read([path]).rows
