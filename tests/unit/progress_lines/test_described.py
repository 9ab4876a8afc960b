"""Lines of a trainer as the user describes them, and the lines that are understood without a word."""

from __future__ import annotations

import math

import pytest

from trainrelay.progress_lines.described import USUAL, USUAL_BY_ITERATION, PatternReader, RowReader, compiled


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Epoch: [0][  1/ 10]\tTime  0.1 ( 0.1)\tLoss 7.0e+00 (7.1e+00)\tAcc@1 0.00", (0, 1, 10, 7.0)),
        ("INFO:root:Epoch 3/90, step 20/100, loss: 0.5", (3, 20, 100, 0.5)),
        ("[GPU0] Epoch 2 | Iter 0 | Train Loss 0.5", (2, 0, None, 0.5)),
        ("2026-01-01 10:00:00,123 - __main__ - INFO - epoch 4 loss=0.25", (4, None, None, 0.25)),
        ("Epoch 0:  33%|###3   | 1/3 [00:01<00:02,  1.20s/it, loss=28.5, lr=0.0001]", (0, 1, 3, 28.5)),
        ("Epoch 6: train loss 0.5, val loss 0.6", (6, None, None, 0.5)),
        ("Train Epoch: 1 [0/60000 (0%)]\tLoss: 2.3", (1, 0, 60000, 2.3)),
        ("\x1b[32mEpoch 3\x1b[0m step 7 of 9: loss -1", (3, 7, 9, -1.0)),
        ("[rank0]: epoch 3 loss 2", (3, None, None, 2.0)),
    ],
)
def test_usual_lines_are_understood(line: str, wanted: tuple[object, ...]) -> None:
    seen = PatternReader(USUAL).line(line)
    assert seen
    assert (seen.epoch, seen.iteration, seen.iters, seen.values["loss"]) == wanted


@pytest.mark.parametrize(
    "line",
    [
        "=> loaded checkpoint 'x' (epoch 2), loss 0.3",
        "Resuming from epoch 2, loss 0.3",
        "Epoch 5 val loss: 0.3",
        "Test: [ 0/10]\tLoss 7.0",
        "[GPU1] Epoch 1 | Batchsize: 32 | Steps: 32",
        "x" * 5_000 + " Epoch 1 loss 2",
        "",
    ],
)
def test_what_only_mentions_an_epoch_is_no_progress(line: str) -> None:
    """Else a trainer that says from where it resumes would be taken for one that trains that epoch again."""
    assert PatternReader(USUAL).line(line) is None


def test_the_usual_evaluations_are_understood() -> None:
    """As ImageNet's main.py and nanoGPT print them: the best checkpoint is chosen by them."""
    reader = PatternReader(USUAL)
    assert reader.line(" *   Acc@1 33.333 Acc@5 100.000") is None
    assert reader.line("Epoch: [4][1/15]\tLoss 5.2e+00 (5.2e+00)\tAcc@1  25.00 ( 25.00)")
    assert reader.line("Test: [1/5]\tTime  0.1\tLoss 5.2e+00 (5.2e+00)\tAcc@1  25.00 ( 25.00)") is None
    seen = reader.line(" *   Acc@1 33.333 Acc@5 100.000")
    assert seen
    assert (seen.epoch, dict(seen.evaluated)) == (4, {"acc1": 33.333, "acc5": 100.0})
    by_iteration = PatternReader(USUAL_BY_ITERATION, iters=500).line(
        "step 250: train loss 1.9, val loss 2.0171"
    )
    assert by_iteration
    assert (by_iteration.iteration, dict(by_iteration.values)) == (250, {})
    assert dict(by_iteration.evaluated) == {"loss": 2.0171}


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
    reader = PatternReader(USUAL)
    seen = [reader.line(f"Epoch {epoch} | Iter {at} | Loss 0.5") for epoch, at in printed]
    assert [one and one.iteration for one in seen] == within


@pytest.mark.parametrize("pattern", ["(", "(?P<epoch>", "(?P<1>x)"])
def test_a_bad_pattern_says_what_is_wrong(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no regular expression: "):
        compiled(pattern)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            "2022 | INFO     | yolox.core.trainer:246 - epoch: 1/9, iter: 2/13, mem: 6Mb, total_loss: 24.5",
            (1, 2),
        ),
        ("2020 | INFO | train_inner | epoch 003:      5 / 356 loss=9.44, nll_loss=8.4", (3, 5)),
        ("2020 | INFO | valid | epoch 002 | subset | loss 9.393", None),
        ("2020 | INFO | train | epoch 002 | valid on 'valid' subset | loss 9.393", None),
        ("2020 - INFO - __main__ - resuming from epoch 2, loss 0.3", None),
    ],
)
def test_a_loggers_name_may_come_before_the_epoch(line: str, wanted: tuple[int, int] | None) -> None:
    seen = PatternReader(USUAL).line(line)
    assert (seen and (seen.epoch, seen.iteration)) == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("step    20 | loss: 10.5 | lr 1.6783e-06", (20, 0, 10.5)),
        (
            " iteration      122/  250000 | consumed samples:  9 | lm loss: 2.5E+00 | loss scale: 1.0 |",
            (122, 250_000, 2.5),
        ),
        ("> 2023-03-22 09:30:39 iter 2920: loss nan, time 1099.34ms", (2920, 0, math.nan)),
    ],
)
def test_iterations_without_an_epoch_say_of_how_many(line: str, wanted: tuple[int, int, float]) -> None:
    seen = PatternReader(USUAL_BY_ITERATION, 0).line(line)
    assert seen
    assert (seen.iteration, seen.iters, seen.values["loss"]) == pytest.approx(wanted, nan_ok=True)
