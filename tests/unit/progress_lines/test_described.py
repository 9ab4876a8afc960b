"""Lines of a trainer as the user describes them."""

from __future__ import annotations

import math

import pytest

from trainrelay.progress_lines.described import PatternReader, RowReader, compiled


def test_a_line_without_an_epoch_belongs_to_the_one_before_it() -> None:
    reader = PatternReader(
        [r"^== (?P<epoch>\d+)/(?P<epochs>\d+)", r"^(?P<iter>\d+): (?P<loss>\S+)", r"(?P<val_acc>\S+)%"]
    )
    assert reader.line("1: 0.5") is None
    seen = [reader.line(line) for line in ("== 3/9", "1: nan", "2: 0.5", "acc 80%", "2: x")]
    assert [one and (one.epoch, one.iteration) for one in seen] == [
        (3, None),
        (3, 1),
        (3, 2),
        (3, None),
        (3, 2),
    ]
    assert seen[1]
    assert math.isnan(seen[1].values["loss"])
    assert seen[3]
    assert (dict(seen[3].values), dict(seen[3].evaluated)) == ({}, {"acc": 80.0})


def test_a_pattern_that_backtracks_stalls_nobody_and_is_left_out() -> None:
    """After three lines of those on which plain `re` would take years."""
    reader = PatternReader([r"(a|aa)+$(?P<epoch>\d)", r"b(?P<epoch>\d)"])
    seen = [reader.line("a" * 300 + "b3") for _ in range(12)]
    assert [one and one.epoch for one in seen] == [3] * 12
    assert reader.slow == {r"(a|aa)+$(?P<epoch>\d)": 3}


def test_rows_of_csv_and_json_lines() -> None:
    reader = RowReader()
    rows = ["epoch,Train_Loss,val/acc,note", "0,0.5,0.9,x", "1,,nan", "2,nan,0.1,", "epoch,loss", "3,0.25"]
    seen = [reader.line(row) for row in rows]
    assert [one and one.epoch for one in seen] == [None, 0, None, 2, None, 3]
    assert seen[1]
    assert (dict(seen[1].values), dict(seen[1].evaluated)) == ({"Loss": 0.5}, {"acc": 0.9})
    found = RowReader().line(
        '{"epoch": 1.0, "iteration": 2, "loss": 0.1, "who": "x", "deep": {"a": 1}, "on": true}'
    )
    assert found
    assert (found.epoch, found.iteration, dict(found.values)) == (1, 2, {"loss": 0.1})
    assert [RowReader().line(row) for row in ("{", "[1]", "{} {}", '{"epoch": "x"}', "{" * 4000)] == [
        None
    ] * 5


@pytest.mark.parametrize("first", [0, 1])
def test_iterations_that_go_on_from_epoch_to_epoch_are_counted_within_each(first: int) -> None:
    """Also where a table begins again with an epoch that it has."""
    reader = RowReader()
    steps = [(0, 0), (0, 10), (0, 20), (1, 30), (1, 40), (2, 60), (1, 30), (1, 40), (2, 60)]
    seen = [reader.line(f'{{"epoch": {epoch}, "step": {step + first}}}') for epoch, step in steps]
    found = [(one.epoch, one.iteration) for one in seen if one]
    within = [(0, 0), (0, 10), (0, 20), (1, 0), (1, 10), (2, 0), (1, 0), (1, 10), (2, 0)]
    assert found == [(epoch, iteration + first) for epoch, iteration in within]


@pytest.mark.parametrize(
    ("printed", "within"),
    [
        ([(3, 3010), (3, 3010), (3, 3020), (3, 3030), (4, 4010)], [1, 1, 20, 30, 1]),
        ([(3, 10), (3, 20), (3, 30), (4, 10)], [1, 20, 30, 10]),
        ([(3, 0), (3, 1), (4, 0)], [0, 1, 0]),
        ([(3, 900), (4, 100), (4, 200)], [1, 100, 200]),
    ],
)
def test_the_first_epoch_after_a_resume_is_counted_within_it(
    printed: list[tuple[int, int]], within: list[int]
) -> None:
    """Whether its iterations count over the whole run, the second line tells."""
    reader = PatternReader([r"Epoch (?P<epoch>\d+) \| Iter (?P<iter>\d+) \| Loss (?P<loss>\S+)"])
    seen = [reader.line(f"Epoch {epoch} | Iter {at} | Loss 0.5") for epoch, at in printed]
    assert [one and one.iteration for one in seen] == within


@pytest.mark.parametrize("pattern", ["(", "(?P<epoch>", "(?P<1>x)"])
def test_a_bad_pattern_says_what_is_wrong(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no regular expression: "):
        compiled(pattern)
