"""The bar and the dicts of Hugging Face's Trainer, while it trains."""

from __future__ import annotations

import pytest

from trainrelay.progress_lines.console import ConsoleReader
from trainrelay.progress_lines.described import LineSeen


def seen(*lines: str, iters: int | None = None) -> list[LineSeen]:
    reader = ConsoleReader(iters)
    return [one for line in lines if (one := reader.line(line)) is not None]


def row(epoch: str, **numbers: str) -> str:
    said = "".join(f"'{name}': {value}, " for name, value in numbers.items())
    return f"{{{said}'epoch': {epoch}}}\n"


def bar(done: int, of: int) -> str:
    return f" {100 * done // of}%|##    | {done}/{of} [00:00<00:02, 14.36it/s]"


@pytest.mark.parametrize("quote", ["", "'"])
def test_its_rows_name_their_epoch_by_a_fraction_which_ends_with_a_whole_number(quote: str) -> None:
    lines = [
        row(f"{quote}{epoch}{quote}", loss=f"{quote}2.5{quote}") for epoch in ("0.5", "1.0", "1.5", "2.0")
    ]
    assert [(one.epoch, one.loss) for one in seen(*lines)] == [(1, 2.5), (1, 2.5), (2, 2.5), (2, 2.5)]


def test_what_it_rounded_to_a_whole_number_proves_no_epoch_at_a_start() -> None:
    """Behind the second epoch, or a step into the third."""
    found = seen(row("2.0", loss="2.5"), row("2.01", loss="2.5"), row("3.0", loss="2.5"))
    assert [one.epoch for one in found] == [3, 3]


def test_rows_at_the_end_of_each_epoch_are_theirs() -> None:
    lines = [row("'1'", loss="'2.5'"), row("'1'", eval_loss="'2.4'")]
    more = [row("'2'", loss="'2.3'"), row("'2'", eval_loss="'2.2'"), row("'3'", loss="'2.1'")]
    assert [one.epoch for one in seen(*lines, *more) if one.evaluated] == [1, 2]
    assert [one.epoch for one in seen(*lines, *more) if one.values] == [2, 3]


def test_an_evaluation_is_of_its_epoch_and_none_is_before_the_first_step() -> None:
    first = row("0", eval_loss="2.9"), row("'0'", eval_loss="'2.9'")
    found = seen(*first, row("0.9", loss="2.5"), row("1.0", eval_loss="2.4"))
    assert [(one.epoch, one.iteration, one.evaluated) for one in found] == [
        (1, None, {}),
        (1, None, {"loss": 2.4}),
    ]


def test_the_bar_of_training_tells_the_iteration_also_of_an_evaluation_amid() -> None:
    found = seen(
        f"{bar(0, 48)}\n",
        f"{bar(5, 48)}\r",
        row("0.3125", loss="2.5"),
        f"{bar(2, 2)}\r",
        row("0.3125", eval_loss="2.4", eval_runtime="1.5"),
    )
    assert [(one.epoch, one.iteration, one.evaluates) for one in found] == [(1, 5, "amid")] * 2
    assert found[1].evaluated == {"loss": 2.4}


def test_the_bar_of_an_evaluation_or_a_data_set_just_before_a_row_is_not_the_trainings() -> None:
    """Bars are drawn ten times a second: that of training may be later than its row."""
    lines = [f"{bar(900, 900)}\r", f"{bar(5, 80)}\r", row("0.5", loss="2.5"), f"{bar(2, 2)}\r"]
    lines += [row("1.0", eval_loss="2.4"), f"{bar(44, 80)}\r", f"{bar(2, 2)}\r", row("1.1", loss="2.3")]
    found = seen(*lines, f"{bar(1, 2)}\r", row("1.2", loss="2.2"))
    assert [(one.epoch, one.iteration) for one in found if one.values] == [(1, 5), (2, 5), (2, 5)]


def test_a_stage_that_counts_iterations_has_them_from_the_bar_of_so_many() -> None:
    lines = [f"{bar(3, 9)}\r", row("0.1", loss="9.5"), f"{bar(20, 60)}\r", row("1.25", loss="nan")]
    found = seen(*lines, f"{bar(1, 1)}\r", row("1.25", eval_loss="2.4"), iters=60)
    assert [(one.iteration, one.iters) for one in found] == [(20, 60), (20, 60)]
    assert str(found[0].loss) == "nan"
    assert not seen(row("1.25", loss="2.5"), f"{bar(0, 60)}\r", row("1.5", loss="2.5"), iters=60)


def test_a_log_from_before_iters_was_raised_is_read_by_its_shorter_bar() -> None:
    lines = [line for done in (10, 20, 30) for line in (f"{bar(done, 60)}\r", row("0.5", loss="2.5"))]
    assert [one.iteration for one in seen(*lines, iters=90)] == [20, 30]


def test_its_learning_rate_is_called_as_others_are() -> None:
    (found,) = seen(f"{bar(10, 60)}\r", row("0.5", loss="2.5", learning_rate="0.1"))
    assert dict(found.values) == {"loss": 2.5, "lr": 0.1}


def test_its_summary_and_the_rows_of_others_are_none_of_it() -> None:
    assert not seen("{'train_runtime': '4.9', 'train_loss': '4.307', 'epoch': '3.75'}\n")
    assert not seen("state: {'epoch': 7.5, 'loss': 0.25}\n")
