# ruff: noqa: E501 - lines as trainers print them
"""Whole logs of consoles that nobody described: how they are judged, and what is no log."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.analysis import analyze, read
from trainrelay.errors import UnknownLogError
from trainrelay.records import Log

SWIN = "[2031-01-02 03:04:05 net] (main.py 226): INFO "


def log_of(folder: Path, *lines: str) -> Log:
    path = folder / "a.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    return read([path])


@pytest.mark.parametrize("printed", ["NaN", "NAN", "nan"])
def test_a_loss_that_is_no_number_has_failed(tmp_path: Path, printed: str) -> None:
    lines = [
        f"Epoch {epoch}, step {step}/3, Loss: {printed if epoch == 3 else 0.5}"
        for epoch in (1, 2, 3)
        for step in (1, 2, 3)
    ]
    verdict = analyze(log_of(tmp_path, *lines)).verdict
    assert verdict.kind == "failed"
    assert "loss is NaN at epoch 3, iter 1" in verdict.reason


def test_folds_and_words_for_an_evaluation_within_a_line(tmp_path: Path) -> None:
    lines = [
        f"INFO Fold 2/5, Epoch {epoch}/10, [{step}/3] train loss: 0.5, val. loss: 0.75"
        for epoch in (1, 2)
        for step in (1, 2, 3)
    ]
    log = log_of(tmp_path, "iterations per epoch: 500", *lines, "Early stopping: best epoch 1")
    rows = {
        phase: [(row.epoch, row.values["loss"]) for row in log.rows if row.phase == phase]
        for phase in ("train", "val")
    }
    assert (log.iters_per_epoch, log.max_epochs) == (3, 10)
    assert rows == {"train": [(1, 0.5)] * 3 + [(2, 0.5)] * 3, "val": [(1, 0.75), (2, 0.75)]}


@pytest.mark.parametrize(
    ("lines", "evaluated"),
    [
        (
            [
                f"{SWIN}Train: [4/30][20/40]\tlr 0.5\tloss 3.5 (3.0)",
                f"{SWIN}Train: [4/30][40/40]\tlr 0.5\tloss 3.5 (3.0)",
                f"{SWIN}Test: [90/98]\tTime 1.5 (1.5)\tLoss 2.5 (2.5)\tAcc@1 40.5 (40.5)",
                f"{SWIN} * Acc@1 33.5 Acc@5 50.5",
                f"{SWIN}Accuracy of the network on the 50000 test images: 33.5%",
            ],
            (4, 33.5),
        ),
        (
            [
                "INFO:tensorflow:loss = 4.5, step = 100 (12.3 sec)",
                "INFO:tensorflow:loss = 4.5, step = 200 (12.3 sec)",
                "INFO:tensorflow:Saving checkpoints for 200 into /x/model.ckpt.",
                "INFO:tensorflow:Saving dict for global step 200: accuracy = 0.25, global_step = 200, loss = 0.5",
                "INFO:tensorflow:loss = 4.5, step = 300 (12.3 sec)",
            ],
            (1, 0.25),
        ),
    ],
)
def test_evaluations_of_swin_and_of_tensorflows_estimators(
    tmp_path: Path, lines: list[str], evaluated: tuple[int, float]
) -> None:
    log = log_of(tmp_path, *lines)
    assert [(row.epoch, next(iter(row.values.values()))) for row in log.rows if row.phase == "val"] == [
        evaluated
    ]


@pytest.mark.parametrize(
    "line",
    [
        "{}:    loss_weight = 1.0",
        "  {} |     loss = 0.0",
        "batch {}: migrations applied: 5",
        "[{}/90] copying, total: 500",
    ],
)
def test_code_and_other_programs_are_no_log(tmp_path: Path, line: str) -> None:
    with pytest.raises(UnknownLogError):
        log_of(tmp_path, *(line.format(number) for number in range(1, 9)))
