# ruff: noqa: E501 - lines as trainers print them
"""Whole logs of consoles that nobody described: how they are judged, and what is no log."""

from __future__ import annotations

import json
from collections.abc import Callable
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


def test_an_accuracy_called_train_makes_no_summary_of_a_line(tmp_path: Path) -> None:
    lines = (f"INFO:root:[Epoch {epoch}] train=0.5 val=0.25 loss=1.5 time: 9.5" for epoch in range(3))
    assert [(row.phase, row.epoch, dict(row.values)) for row in log_of(tmp_path, *lines).rows] == [
        ("train", epoch, {"loss": 1.5}) for epoch in (1, 2, 3)
    ]


def test_of_a_training_that_counts_iterations_no_epoch_is_said(tmp_path: Path) -> None:
    log = log_of(tmp_path, *(f"step {step}: loss 2.5" for step in range(5)))
    assert not log.setup


def bars(epoch: int, length: int = 4, shown: str = ", loss=0.5") -> str:
    """As tqdm writes them, each over the one before; nothing is shown before the first step."""
    states = (
        f"Epoch {epoch}: {100 * done // length:3d}%|##  | {done}/{length} [00:01<00:02,  2.00it/s{shown * (done > 0)}]"
        for done in range(length + 1)
    )
    return "\r".join(states)


def of_phase(log: Log, phase: str) -> list[tuple[int, int, float]]:
    return [(row.epoch, row.iteration, row.values["loss"]) for row in log.rows if row.phase == phase]


@pytest.mark.parametrize("first", [0, 1])
def test_what_is_printed_between_bars_is_read(tmp_path: Path, first: int) -> None:
    """Also right behind one, which ends no line; epochs count from what they are seen to."""
    text = "".join(
        f"{bars(first + epoch)}Validation: loss {printed}, acc 0.5\n"
        for epoch, printed in enumerate(("0.75", "0.25", "nan"))
    )
    log = log_of(tmp_path, text)
    assert of_phase(log, "train") == [(epoch, done, 0.5) for epoch in (1, 2, 3) for done in (1, 2, 3, 4)]
    assert of_phase(log, "val")[:2] == [(1, 0, 0.75), (2, 0, 0.25)]
    assert "loss is NaN at epoch 3 (validation)" in analyze(log).verdict.reason


def test_steps_over_the_whole_run_between_bars_that_show_nothing(tmp_path: Path) -> None:
    steps = [
        f"{bars(epoch, shown='').rpartition(chr(13))[0]}step {4 * epoch + step} | loss {value}"
        for epoch in (0, 1, 2)
        for step, value in ((2, 0.5), (4, "nan" if epoch == 2 else 0.25))
    ]
    log = log_of(tmp_path, *steps)
    assert of_phase(log, "train")[:4] == [(1, 2, 0.5), (1, 4, 0.25), (2, 2, 0.5), (2, 4, 0.25)]
    assert "loss is NaN at epoch 3, iter 4" in analyze(log).verdict.reason


@pytest.mark.parametrize("at_its_end", [True, False])
def test_an_evaluation_that_a_bar_shows_is_of_the_epoch_before(tmp_path: Path, at_its_end: bool) -> None:
    """Lightning's, which shows it in its last state and through the next epoch; some only there."""
    text, value = "", ""
    for epoch, evaluated in enumerate((0.75, 0.25, 0.125)):
        text += bars(epoch, shown=f", v_num=7, train_loss=0.5{value}") + "\n"
        value = f", val_loss={evaluated}"
        state = f"Epoch {epoch}: 100%|####| 4/4 [00:01<00:00,  2.00it/s, v_num=7, train_loss=0.5{value}]\n"
        following = f"Epoch {epoch + 1}:   0%|    | 0/4 [00:00<?, ?it/s, v_num=7, train_loss=0.5{value}]\r"
        text += state if at_its_end else following
    log = log_of(tmp_path, text)
    assert of_phase(log, "val") == [(1, 0, 0.75), (2, 0, 0.25), (3, 0, 0.125)]
    assert {name for row in log.rows for name in row.values} == {"loss"}


@pytest.mark.parametrize("behind", [1, 3, 5])
def test_ranks_that_draw_the_same_bar_and_do_not_keep_step_are_no_restart(
    tmp_path: Path, behind: int
) -> None:
    one = [state for epoch in range(3) for state in bars(epoch, 50).split("\r")]
    both = zip([*one, *[""] * behind], [*[""] * behind, *one], strict=True)
    log = log_of(tmp_path, "\r".join(state for pair in both for state in pair))
    assert (log.restarts, len(log.rows)) == (0, 150)
    again = log_of(tmp_path, "\r".join(one[:80]), "\r".join(one[51:]))
    assert (again.restarts, len(again.rows)) == (1, 150)


def test_epochs_that_were_evaluated_to_the_last_are_finished(tmp_path: Path) -> None:
    lines = [f"Epoch {epoch}/3 loss=0.5 val_loss=0.75" for epoch in (1, 2, 3)]
    assert analyze(log_of(tmp_path, *lines)).progress.finished
    assert not analyze(log_of(tmp_path, *lines[:2], "Epoch 3/3 loss=0.5")).progress.finished


def test_no_iteration_is_beyond_the_length_of_an_epoch(tmp_path: Path) -> None:
    lines = [f"(step {step}, epoch {1 + step // 50}) - loss: 0.5" for step in range(10, 110, 10)]
    log = log_of(tmp_path, *lines)
    assert max(row.iteration for row in log.rows) == log.iters_per_epoch


def test_an_end_that_lightning_tells_and_epochs_from_0_to_one_less(tmp_path: Path) -> None:
    text = (
        "".join(f"{bars(epoch)}\n" for epoch in range(3)) + "`Trainer.fit` stopped: `max_epochs=3` reached.\n"
    )
    assert analyze(log_of(tmp_path, text)).progress.finished
    rich = [
        f"Epoch {epoch}/2  ━━━━ {at}/4 0:00:02 • 0:00:01 loss: 0.5" for epoch in range(3) for at in range(5)
    ]
    log = log_of(tmp_path, *rich)
    assert (log.max_epochs, log.iters_per_epoch, of_phase(log, "train")[-1][:2]) == (3, 4, (3, 4))
    assert log_of(tmp_path, *rich[:10]).max_epochs == 2  # who knows?


def test_an_evaluation_that_a_bar_begins_to_show_amid_an_epoch_counts(tmp_path: Path) -> None:
    """Lightning's `val_check_interval`; of two ranks each shows its own."""
    states, before = [], ("0.5", "0.625")
    for epoch, amid in enumerate((("0.5", "0.625"), ("nan", "0.25"), ("0.125", "0.0625"))):
        for done in range(5):
            before = amid if done == 2 else before
            values = [f", loss=0.5, val_loss={value}" if (epoch, done) >= (0, 2) else "" for value in before]
            states += [
                f"Epoch {epoch}: {25 * done:3d}%|##  | {done}/4 [00:01<00:02,  2.00it/s{one}]"
                for one in values
            ]
    log = log_of(tmp_path, "\r".join(states))
    assert [(epoch, done) for epoch, done, _ in of_phase(log, "val")] == [(1, 2), (2, 2), (3, 2)]
    assert "loss is NaN at epoch 2 (validation)" in analyze(log).verdict.reason


def test_an_evaluation_that_a_bar_shows_from_its_first_step_on_is_of_the_epoch_before(tmp_path: Path) -> None:
    text = "".join(
        bars(epoch, shown=", loss=0.5" + value) + "\n"
        for epoch, value in ((1, ""), (2, ", val_loss=0.75"), (3, ", val_loss=nan"))
    )
    log = log_of(tmp_path, text)
    assert [epoch for epoch, *_ in of_phase(log, "val")] == [1, 2]
    assert "loss is NaN at epoch 2 (validation)" in analyze(log).verdict.reason


@pytest.mark.parametrize("named", ["Validation", "Validating", "Val Epoch 7", "Epoch 7 [Val]"])
def test_a_bar_of_an_evaluation_between_those_of_a_training_is_one(tmp_path: Path, named: str) -> None:
    """Its last state counts; how far it is, is no metric."""
    text = "".join(
        f"{bars(epoch)}\n"
        + "\r".join(
            f"{named}: {50 * at}%|##| {at}/2 [00:01<00:00, 2.0it/s, loss=0.{at + epoch}]" for at in (1, 2)
        )
        + "\n"
        for epoch in (0, 1)
    )
    log = log_of(tmp_path, text)
    assert of_phase(log, "val") == [(1, 0, 0.2), (2, 0, 0.3)]
    assert {name for row in log.rows for name in row.values} == {"loss"}
    assert of_phase(log, "epoch") == []


def test_what_a_bar_shows_before_any_evaluation_is_none(tmp_path: Path) -> None:
    """As the infinity with which a script begins."""
    text = "\n".join(
        bars(epoch, shown=f", loss=0.5, val_loss={'inf' if epoch == 1 else 0.5}") for epoch in (1, 2, 3)
    )
    log = log_of(tmp_path, text)
    assert of_phase(log, "val") == [(1, 0, 0.5)]
    assert "Inf" not in analyze(log).verdict.reason.replace("NaN/Inf", "")


def test_bars_of_several_ranks_in_one_line_all_count(tmp_path: Path) -> None:
    lines = [
        "".join(
            f"Epoch 1: {25 * at}%|##  | {at}/4 [00:01<00:02,  2.00it/s, loss={one}]"
            for one in ("0.5", "0.25")
        )
        + f"Epoch 1: {25 * (at + 1)}%|### | {at + 1}/4 [00:01<00:02,  2.00it/s, loss=nan]"
        + f"Epoch 1: {25 * at}%|##  | {at}/4 [00:01<00:02,  2.00it/s, loss=0.5]"
        for at in (1, 2, 3)
    ]
    assert "loss is NaN at epoch 1, iter 2" in analyze(log_of(tmp_path, *lines)).verdict.reason


@pytest.mark.parametrize(
    "shown",
    [
        ", lr=[0.1, 0.2], loss={}",
        ", loss=tensor({}, device='cuda:0')",
        ", loss: {}",
        ", loss={}, sizes=[[1, 2], [3]]",
    ],
)
def test_what_a_bar_shows_in_other_words(tmp_path: Path, shown: str) -> None:
    log = log_of(tmp_path, bars(1, shown=shown.format("0.5")) + "\n" + bars(2, shown=shown.format("nan")))
    assert of_phase(log, "train")[:4] == [(1, done, 0.5) for done in (1, 2, 3, 4)]
    assert "loss is NaN at epoch 2, iter 1" in analyze(log).verdict.reason


@pytest.mark.parametrize("line", [bars, lambda epoch: f"Epoch {epoch}: loss 0.5"])
def test_a_log_that_begins_with_a_later_epoch_counts_as_the_one_before_it(
    tmp_path: Path, line: Callable[[int], str]
) -> None:
    """What a trainer calls its first epoch is seen in one of its logs alone."""
    paths = [tmp_path / "first.log", tmp_path / "second.log"]
    for path, epochs in zip(paths, ((0, 1, 2), (3, 4, 5)), strict=True):
        path.write_text("\n".join(map(line, epochs)) + "\n")
    log = read(paths)
    assert sorted({row.epoch for row in log.rows}) == [1, 2, 3, 4, 5, 6]
    assert not log.redone_iterations


def test_a_failure_right_behind_a_bar_is_its_end(tmp_path: Path) -> None:
    text = f'{bars(1)}\n{bars(2)}Traceback (most recent call last):\n  File "t.py", line 3, in <module>\nValueError: no such class'
    assert [marker.text for marker in log_of(tmp_path, text).markers] == ["ValueError: no such class"]


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
            # It counts from 1: its last line but one may be the last of one that counts from 0.
            [
                "Epoch: [4][20/20]\tTime 0.1 (0.1)\tLoss 3.5 (3.0)",
                "Test: [ 1/12]\tTime 1.5 (1.5)\tAcc@1 40.5 (40.5)",
                "Test: [11/12]\tTime 1.5 (1.5)\tAcc@1 40.5 (25.5)",
                " *   Acc@1 33.500 Acc@5 50.500",
            ],
            (4, 33.5),
        ),
        (
            # timm counts from 0 to one less than there are.
            [
                "Train: 4 [  17/18 (100%)]  Loss: 3.5 (3.0)",
                "Test: [   0/5]  Time: 0.1 (0.1)  Acc@1: 40.5 (40.5)",
                "Test: [   4/5]  Time: 0.1 (0.1)  Acc@1: 40.5 (25.5)",
                "Test: [   5/5]  Time: 0.1 (0.1)  Acc@1: 40.5 (33.5)",
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


def drawn(name: str, length: int, shown: str = "") -> str:
    states = (f"{name}: {100 * done // length}%|##  | {done}/{length} [00:01<00:02,  2.00it/s{shown}]" for done in range(length + 1))  # fmt: skip
    return "\r".join(states) + "\n"


@pytest.mark.parametrize(
    "summary",
    ["Epoch {}/3 - train_loss: 0.75 - val_loss: 0.5\n", "Epoch {}: train loss 0.75, val loss 0.5\n"],
)
def test_bars_that_name_no_epoch_above_a_line_that_sums_it_up(tmp_path: Path, summary: str) -> None:
    """They are neither the iterations of the whole run nor of the epoch that is over."""
    text = "".join(
        drawn("Training", 8, ", loss=0.25") + drawn("Evaluating", 4) + summary.format(epoch)
        for epoch in (1, 2, 3)
    )
    log = log_of(tmp_path, text)
    assert of_phase(log, "val") == [(epoch, 0, 0.5) for epoch in (1, 2, 3)]
    assert {row.values["loss"] for row in log.rows} == {0.75, 0.5}
    assert not log.restarts


@pytest.mark.parametrize(
    ("line", "error"), [("step {}/9000: loss 0.5", ""), ("Epoch 1 [{}/9000] loss: 0.5", "MemoryError\n")]
)
def test_a_start_that_came_not_far_is_one(tmp_path: Path, line: str, error: str) -> None:
    start = "".join(line.format(step) + "\n" for step in range(10, 500, 10))
    failed = (
        f"Traceback (most recent call last):\n  File 'a.py', line 3, in <module>\n{error}" if error else ""
    )
    log = log_of(tmp_path, start + failed + start)
    assert (log.restarts, len(log.rows)) == (1, 49)


def test_an_evaluation_amid_an_epoch_is_before_that_at_its_end(tmp_path: Path) -> None:
    states = [
        f"Epoch {epoch}: {25 * done}%|##  | {done}/4 [00:01<00:02,  2.00it/s, loss=0.5{shown}]"
        for epoch, amid, end in ((1, 0.8, 0.4), (2, 0.7, 0.3))
        for done, shown in ((1, ""), (2, f", val_loss={amid}"), (3, ""), (4, f", val_loss={end}"))
    ]
    log = log_of(tmp_path, *states)
    assert [value for *_, value in of_phase(log, "val")] == [0.8, 0.4, 0.7, 0.3]


def test_an_epoch_0_that_was_only_evaluated_is_none_to_train(tmp_path: Path) -> None:
    lines = [f"Epoch {epoch}/3 loss=0.5 val_loss=0.75" for epoch in (1, 2, 3)]
    assert log_of(tmp_path, "Epoch 0/3 val_loss=0.75", *lines).max_epochs == 3


@pytest.mark.parametrize("form", ["docker", "list"])
def test_bars_in_objects_of_json(tmp_path: Path, form: str) -> None:
    said = [
        f" {10 * at}%|#   | {10 * at}/100 [00:10<01:30, 5.0it/s]{{'loss': 0.5, 'epoch': {at / 10}}}\n"
        for at in (1, 2, 3)
    ]
    if form == "docker":
        log = log_of(tmp_path, *(json.dumps({"log": one, "stream": "stderr"}) for one in said))
    else:
        rows = [{"step": at, "loss": 0.5, "note": one} for at, one in enumerate(said, 1)]
        log = log_of(tmp_path, json.dumps(rows))
    assert len(of_phase(log, "train")) == 3


def test_the_state_of_a_bar_that_shows_an_evaluation_is_one_of_its_own_epoch_as_well(tmp_path: Path) -> None:
    states = [
        f"Epoch {epoch}:  50%|##  | 1/2 [00:01<00:02,  2.00it/s, loss={loss}{shown}]\ntrain loss: {loss}"
        for epoch, loss, shown in ((1, 0.5, ""), (2, 0.25, ", val_loss=0.75"), (3, "nan", ", val_loss=0.5"))
    ]
    log = log_of(tmp_path, *states)
    assert of_phase(log, "train")[:2] == [(1, 1, 0.5), (2, 1, 0.25)]
    assert of_phase(log, "epoch")[:2] == [(1, 0, 0.5), (2, 0, 0.25)]
    assert of_phase(log, "val") == [(1, 0, 0.75), (2, 0, 0.5)]
    assert "loss is NaN at epoch 3, iter 1" in analyze(log).verdict.reason


@pytest.mark.parametrize("first", ["out", "err"])
def test_a_jobs_output_and_its_errors_are_one_training(tmp_path: Path, first: str) -> None:
    """Its summaries are in the one, tqdm's bars in the other."""
    summaries = (
        f"Epoch {epoch}/3 loss=0.5 val_loss={'nan' if epoch == 3 else 0.25}\n" for epoch in (1, 2, 3)
    )
    texts = {"out": "".join(summaries), "err": "\n".join(map(bars, (1, 2, 3)))}
    paths = [tmp_path / f"job.{name}" for name in sorted(texts, key=lambda name: name != first)]
    for path in paths:
        path.write_text(texts[path.suffix[1:]])
    log = read(paths)
    assert [epoch for epoch, *_ in of_phase(log, "val")] == [1, 2, 3]
    assert (len(of_phase(log, "train")), log.restarts) == (12, 0)
    assert "loss is NaN at epoch 3" in analyze(log).verdict.reason


def unnamed(length: int, loss: float | str, states: int = 0) -> str:
    """A bar of one epoch that names none, as far as it was drawn."""
    every = drawn("", length, f", loss={loss}").replace(": ", "").split("\r")
    return "\r".join(every[: states or None])


@pytest.mark.parametrize("named", ["", "Training: "])
def test_a_bar_that_begins_again_after_its_end_is_of_the_next_epoch(tmp_path: Path, named: str) -> None:
    """Where no line and no bar names an epoch; nothing says how many there are to be."""
    losses = (0.5, 0.25, 0.125)
    text = "".join(unnamed(39, loss).replace("\r", f"\r{named}") for loss in losses)
    log = log_of(tmp_path, text)
    assert (log.restarts, log.iters_per_epoch, log.max_epochs) == (0, 39, None)
    assert of_phase(log, "train") == [
        (epoch, done, loss) for epoch, loss in enumerate(losses, 1) for done in range(1, 40)
    ]
    assert not analyze(log).progress.finished


def test_a_bar_that_begins_again_before_its_end_is_of_a_restart(tmp_path: Path) -> None:
    log = log_of(tmp_path, unnamed(39, 0.5) + unnamed(39, 0.25, 20), unnamed(39, 0.5) + unnamed(39, 0.25))
    assert log.restarts == 1
    assert of_phase(log, "train")[-1] == (2, 39, 0.25)


@pytest.mark.parametrize("behind", [1, 3])
def test_ranks_whose_bars_name_no_epoch_and_do_not_keep_step_are_no_restart(
    tmp_path: Path, behind: int
) -> None:
    one = [
        state
        for loss in (0.5, 0.25, 0.125)
        for state in (unnamed(39, loss) + unnamed(8, 0.75)).replace("\n", "\r").split("\r")
    ]
    both = zip([*one, *[""] * behind], [*[""] * behind, *one], strict=True)
    log = log_of(tmp_path, "\r".join(state for pair in both for state in pair))
    assert (log.restarts, log.iters_per_epoch, len(of_phase(log, "train"))) == (0, 39, 3 * 39)
    assert [epoch for epoch, *_ in of_phase(log, "val")] == [1, 2, 3]


@pytest.mark.parametrize("shown", [0.75, "nan"])
def test_a_bar_of_another_length_between_those_of_epochs_is_of_an_evaluation(
    tmp_path: Path, shown: float | str
) -> None:
    text = "".join(unnamed(39, loss) + unnamed(8, shown) for loss in (0.5, 0.25, 0.125))
    log = log_of(tmp_path, text)
    assert (log.restarts, log.iters_per_epoch, len(of_phase(log, "train"))) == (0, 39, 3 * 39)
    assert [place[:2] for place in of_phase(log, "val")] == [(epoch, 0) for epoch in (1, 2, 3)]
    assert ("loss is NaN at epoch 1 (validation)" in analyze(log).verdict.reason) == (shown == "nan")


def test_bars_between_lines_that_count_iterations_count_no_epochs(tmp_path: Path) -> None:
    steps = [
        f"step {step}: loss 0.5\n" + unnamed(8, 0.75) * (step % 300 == 0) for step in range(100, 1000, 100)
    ]
    log = log_of(tmp_path, "".join(steps))
    assert {row.epoch for row in log.rows} == {1}


@pytest.mark.parametrize(("summed", "drawn_from"), [(1, 0), (0, 1)])
def test_a_jobs_output_and_its_errors_may_count_epochs_from_other_numbers(
    tmp_path: Path, summed: int, drawn_from: int
) -> None:
    """`Epoch {epoch + 1}` in the one, tqdm's `Epoch {epoch}` in the other."""
    out, err = tmp_path / "job.out", tmp_path / "job.err"
    out.write_text("".join(f"Epoch {summed + at} - train loss 0.5 - val loss 0.75\n" for at in range(3)))
    err.write_text("\n".join(bars(drawn_from + at) for at in range(3)))
    log = read([out, err])
    for phase in ("train", "epoch", "val"):
        assert sorted({row.epoch for row in log.rows if row.phase == phase}) == [1, 2, 3]
    assert not log.restarts


@pytest.mark.parametrize("at_its_end", [True, False])
def test_an_evaluation_that_equals_an_earlier_one_is_another(tmp_path: Path, at_its_end: bool) -> None:
    """One that was shown meanwhile, or states without any, tell them apart."""
    values = (0.75, 0.75, 0.5, 0.5) if at_its_end else (0.75, 0.5, 0.75, 0.5)
    text, shown = "", ""
    for epoch, value in enumerate(values, 1):
        text += bars(epoch, shown=", loss=0.5" + shown)
        if at_its_end:
            text += f"\rEpoch {epoch}: 100%|####| 4/4 [00:01<00:00,  2.00it/s, loss=0.5, val_loss={value}]\n"
        else:
            shown = f", val_loss={value}"
    text += "" if at_its_end else bars(5, shown=", loss=0.5" + shown)
    log = log_of(tmp_path, text)
    assert of_phase(log, "val") == [(epoch, 0, value) for epoch, value in enumerate(values, 1)]


def test_bars_of_a_start_know_nothing_of_those_before_it(tmp_path: Path) -> None:
    """The infinity with which it begins is no evaluation, and one that comes out as before is one."""
    start = "\n".join(
        bars(epoch, shown=f", loss=0.5, val_loss={value}")
        for epoch, value in ((1, "inf"), (2, 0.75), (3, 0.5), (4, 0.25))
    )
    log = log_of(tmp_path, start, start)
    assert (log.restarts, of_phase(log, "val")) == (1, [(1, 0, 0.75), (2, 0, 0.5), (3, 0, 0.25)])
    assert "Inf" not in analyze(log).verdict.reason.replace("NaN/Inf", "")


def test_summaries_of_a_line_have_their_number_of_epochs_and_what_follows_them(tmp_path: Path) -> None:
    lines = (
        f"{line}"
        for epoch in (1, 2, 3)
        for line in (f"Epoch {epoch}/3 - Train Loss: 0.5", f"Epoch {epoch}: Val acc is {90 + epoch}%")
    )
    log = log_of(tmp_path, *lines)
    assert [(row.phase, row.epoch, dict(row.values)) for row in log.rows][-2:] == [
        ("train", 3, {"loss": 0.5}),
        ("val", 3, {"acc": 93.0}),
    ]
    assert analyze(log).progress.finished


def test_the_last_of_epochs_that_are_only_summed_up_is_finished(tmp_path: Path) -> None:
    lines = [f"Epoch {epoch}/3 loss=0.5" for epoch in (1, 2, 3)]
    assert analyze(log_of(tmp_path, *lines)).progress.finished
    assert not analyze(log_of(tmp_path, *lines[:2])).progress.finished


def test_a_start_from_zero_shows_in_its_first_line(tmp_path: Path) -> None:
    lines = [f"Epoch[{epoch}] Batch [{at}] loss=0.5" for epoch in range(9) for at in (20, 40)]
    log = log_of(tmp_path, *lines, "Epoch[0] Batch [20] loss=0.75")
    assert (log.segments, analyze(log).progress.epoch) == (2, 1)


def test_iterations_that_go_on_from_epoch_to_epoch_are_of_the_whole_training(tmp_path: Path) -> None:
    lines = [f"[TRAIN] epoch: {1 + at // 37}, iter: {at}/200, loss: 0.5" for at in range(10, 210, 10)]
    lines.insert(12, "[EVAL] epoch 4 val loss: 0.75")
    log = log_of(tmp_path, *lines)
    found = analyze(log)
    assert (found.by_iteration, found.iterations, found.progress.finished) == (True, 200, True)
    assert [(row.step, dict(row.values)) for row in log.rows if row.phase == "val"] == [(140, {"loss": 0.75})]


@pytest.mark.parametrize("bullet", [" - ", ""])
def test_keras_without_bars_sums_an_epoch_up_below_its_name(tmp_path: Path, bullet: str) -> None:
    log = log_of(
        tmp_path,
        *(
            f"Epoch {epoch}/3\n{bullet}10s - loss: 0.5 - acc: 0.25 - val_loss: 0.75\nEpoch 0000{epoch}: val_acc did not improve"
            for epoch in (1, 2, 3)
        ),
    )
    assert [(row.phase, row.epoch, dict(row.values)) for row in log.rows] == [
        (phase, epoch, values)
        for epoch in (1, 2, 3)
        for phase, values in (("train", {"loss": 0.5, "acc": 0.25}), ("val", {"loss": 0.75}))
    ]
    assert log.max_epochs == 3


def test_steps_past_the_end_are_no_start(tmp_path: Path) -> None:
    log = log_of(tmp_path, *(f"[step={at}/20,epoch=0] loss=0.5" for at in range(1, 24)))
    assert (log.segments, log.rows[-1].iteration) == (1, 20)


def test_a_restart_within_the_first_steps_is_no_rank_that_lags(tmp_path: Path) -> None:
    """Of short epochs tqdm draws few states, far from each other."""
    states = (f"  5%|#  | {at}/20 [00:01<00:02,  3.0it/s, loss=0.5]" for at in (2, *(1, 12, 20) * 3))
    assert of_phase(log_of(tmp_path, *states), "train")[-1] == (3, 20, 0.5)


def test_evaluations_between_the_states_of_a_bar_are_amid_its_epoch(tmp_path: Path) -> None:
    """Pytorch-UNet's."""
    bar = "\rEpoch {}/2:  {}%|##  | {}/100 [00:05<00:05, 9.5img/s, loss (batch)=0.5]"
    text = "".join(
        bar.format(epoch, done, done)
        + (f"INFO: Validation Dice score: 0.{epoch}{done // 25}\n" if done % 50 == 0 else "")
        for epoch in (1, 2)
        for done in range(25, 101, 25)
    )
    log = log_of(tmp_path, text)
    assert [
        (row.epoch, row.iteration, row.values["dice_score"]) for row in log.rows if row.phase == "val"
    ] == [
        *((1, 50, 0.12), (1, 0, 0.14), (2, 50, 0.22), (2, 0, 0.24)),
    ]


def test_what_is_said_again_without_its_loss_is_of_an_evaluation(tmp_path: Path) -> None:
    """PaddleRec's inference."""
    trained = (
        line
        for epoch in range(4)
        for line in (
            *(
                f"{at} - INFO - epoch: {epoch}, batch_id: {at}, ACC: 0.5,loss:0.25"
                for at in range(0, 200, 50)
            ),
            f"INFO - epoch: {epoch} done, ACC: 0.625,loss:0.25, epoch time: 9.5 s",
        )
    )
    tested = (
        line
        for epoch in (2, 3)
        for line in (
            *(f"INFO - load model epoch {epoch}", f"INFO - epoch: {epoch}, batch_id: 0, ACC: 0.5, ips: 9.5"),
            f"INFO - epoch: {epoch} done, ACC: 0.75, epoch time: 1.5 s",
        )
    )
    log = log_of(tmp_path, *trained, *tested)
    assert log.segments == 1
    assert [(row.epoch, dict(row.values)) for row in log.rows if row.phase == "val"] == [
        *((3, {"acc": 0.75}), (4, {"acc": 0.75}))
    ]


def test_an_evaluation_that_runs_from_sample_to_sample_counts_as_it_ended(tmp_path: Path) -> None:
    log = log_of(
        tmp_path,
        *(
            line
            for at in (10, 20)
            for line in (
                f"net INFO: Iters: {at}/20 || Lr: 0.5 || Task Loss: 0.5",
                "net INFO: Start validation, Total sample: 3",
                *(
                    f"net INFO: Sample: {n}, Validation pixAcc: 0.{at + n}, mIoU: 0.{n}{at}"
                    for n in (1, 2, 3)
                ),
            )
        ),
    )
    assert [(row.step, dict(row.values)) for row in log.rows if row.phase == "val"] == [
        *((10, {"pixAcc": 0.13, "mIoU": 0.310}), (20, {"pixAcc": 0.23, "mIoU": 0.320}))
    ]


def test_ranks_that_introduce_themselves_do_not_tell_the_trainer(tmp_path: Path) -> None:
    """fairseq's say it as DETR's."""
    ranks = (f"INFO | utils | distributed init (rank {rank}): tcp://localhost:9999" for rank in range(8))
    lines = (f"INFO | train_inner | epoch 001:  {at} / 900 loss=2.5, ppl=5.5" for at in range(10, 60, 10))
    assert log_of(tmp_path, *ranks, *lines).rows[-1].iteration == 50


def test_steps_of_another_length_below_the_name_of_an_epoch_are_of_its_evaluation(tmp_path: Path) -> None:
    """PaddlePaddle's high-level API: `Eval begin...` names no epoch."""

    def steps(of: int) -> str:
        return "".join(f"step {at}/{of} - loss: 0.{at} - acc: 0.5 - 99ms/step\n" for at in (10, 20, of))

    text = "".join(
        f"Epoch {epoch}/3\n{steps(64)}Eval begin...\n{steps(28)}Eval samples: 99\n" for epoch in (1, 2, 3)
    )
    log = log_of(tmp_path, text)
    assert (log.restarts, log.iters_per_epoch, len(of_phase(log, "train"))) == (0, 64, 9)
    assert of_phase(log, "val") == [(epoch, 0, 0.28) for epoch in (1, 2, 3)]


@pytest.mark.parametrize("line", ["Epoch 1 [10/900] loss: {}", "Epoch: 1 loss: {} acc: 0.5"])
def test_of_two_starts_that_failed_behind_their_first_line_the_last_one_is_judged(
    tmp_path: Path, line: str
) -> None:
    failed = (
        "Traceback (most recent call last):\n  File 'a.py', line 3, in <module>\nRuntimeError: CUDA error"
    )
    log = log_of(tmp_path, line.format("nan"), failed, line.format(0.5), failed)
    assert (log.restarts, log.rows[0].values["loss"]) == (1, 0.5)


def test_a_batch_size_among_indented_settings_is_no_place(tmp_path: Path) -> None:
    settings = "Parameters:\n  epochs: 9\n  batch: 64\n  seq_len: 70\n  target_gc: 0.42"
    lines = [f"Epoch {epoch}/9 | D_loss=0.5 | G_loss=0.75" for epoch in (1, 2, 3)]
    log = log_of(tmp_path, settings, *lines, settings, *lines)
    assert (log.epochs_only, log.restarts, {name for row in log.rows for name in row.values}) == (
        True,
        1,
        {"d_loss", "g_loss"},
    )


def test_steps_and_a_word_are_enough_for_build_nanogpt(tmp_path: Path) -> None:
    lines = [f"{at} val 9.{9 - at}000\n{at} hella 0.2500\n{at} train 9.{9 - at}50000" for at in (0, 1, 2)]
    log = log_of(tmp_path, *lines)
    assert [value for *_, value in of_phase(log, "train")] == [9.95, 9.85, 9.75]
    assert [value for *_, value in of_phase(log, "val")] == [9.9, 9.8, 9.7]
    with pytest.raises(UnknownLogError):
        log_of(tmp_path, "1200 train 300", "1300 train 310", "1400 val 320")


def test_transformer_xls_lines_of_tensorflow_count_steps(tmp_path: Path) -> None:
    """absl prints each line again."""
    said = "[{:6d}] | gnorm  0.5 lr  0.00025 | loss  2.5\n"
    line = f"INFO:tensorflow:{said}I1212 15:10:27.44 128529 train.py:298] {said}"
    log = log_of(tmp_path, "".join(line.format(step, step) for step in (5000, 10000)))
    assert [row.step for row in log.rows] == [5000, 10000]


def test_the_words_of_a_logger_before_its_level_are_no_prose(tmp_path: Path) -> None:
    """GluonCV's lines have no loss by that name."""
    line = "2031-01-02 03:04:05,678 - train_net.py[line:177] - INFO: [Epoch {}][Batch {}], CrossEntropy=1.5, SmoothL1=0.5, val_AP=0.25"
    log = log_of(tmp_path, *(line.format(epoch, batch) for epoch in (0, 1) for batch in (0, 50)))
    assert [row.values["SmoothL1"] for row in log.rows if row.phase == "train"] == [0.5] * 4
