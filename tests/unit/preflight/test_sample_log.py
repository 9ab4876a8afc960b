"""`trainrelay check` shows what the patterns of a script understand of a log that the user has."""

from __future__ import annotations

from pathlib import Path

from trainrelay.preflight.sample_log import sample_check
from trainrelay.progress_lines.console import ConsoleReader
from trainrelay.progress_lines.described import PatternReader, RowReader

MINE = (
    r"^epoch (?P<epoch>\d+) step (?P<iter>\d+)/(?P<iters>\d+) loss (?P<loss>\S+)",
    r"acc (?P<val_acc>\S+)",
)


def test_an_example_of_each_form_of_line_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("hello\n" + "".join(f"epoch 3 step {i}/9 loss 0.5\n" for i in range(2)) + "acc 0.25\n")
    found = sample_check(log, PatternReader(MINE))
    assert found.kind == "ok"
    assert found.what.endswith(
        "3 of 4 lines tell its progress: `epoch 3 step 0/9 loss 0.5` is epoch 3, iter 0, iters 9, loss 0.5;"
        " `acc 0.25` is epoch 3, acc of an evaluation 0.25"
    )


def test_a_log_without_a_number_of_the_training_is_noted(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"Epoch {epoch}/8: val_loss 0.5 val_acc 0.75\n" for epoch in (1, 2, 3)))
    found = sample_check(log, ConsoleReader())
    assert (found.kind, "so NaN is not watched" in found.what) == ("note", True)


def test_a_pattern_that_reads_no_line_is_named(tmp_path: Path) -> None:
    """It may be wrong, or a line before it is read by another; the usual ones need not all fit."""
    log = tmp_path / "a.log"
    log.write_text("epoch 3 loss 0.5\nacc 0.25\n")
    mine = [r"^epoch (?P<epoch>\d+) loss (?P<loss>\S+)", r"^accuracy (?P<val_acc>\S+)"]
    found = sample_check(log, PatternReader(mine), mine)
    assert found.kind == "note"
    assert found.what.endswith(r"; of script.progress these read no line: ^accuracy (?P<val_acc>\S+)")
    assert sample_check(log, PatternReader(mine[:1]), mine[:1]).kind == "ok"
    assert sample_check(log, ConsoleReader()).kind == "ok"


def test_what_is_not_understood_is_quoted_with_what_to_set(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("hello\nyou\n")
    found = sample_check(log, RowReader())
    assert (found.kind, "it has: `hello` | `you`" in found.what) == ("fix", True)
    assert sample_check(tmp_path / "b.log", RowReader()).kind == "fix"
    log.write_text("a" * 300 + "b")
    slow = sample_check(log, PatternReader([r"(a|aa)+$(?P<epoch>\d)"]))
    assert (slow.kind, "takes too long" in slow.what) == ("fix", True)


def test_lines_with_a_loss_and_no_place_are_quoted_with_what_would_help(tmp_path: Path) -> None:
    """As what Hugging Face's Trainer prints without its bar, where iterations count: no pattern finds one."""
    log, said = tmp_path / "a.log", "{'loss': 4.321, 'epoch': 0.3125}"
    log.write_text("a warning\n" * 9 + said)
    found = sample_check(log, ConsoleReader(60))
    assert (found.kind, f"it has: `{said}` | `a warning`; " in f"{found.what}; ") == ("fix", True)
    assert "let it print that, as a progress bar does, or describe" in found.what


def test_a_best_metric_that_no_evaluation_has_is_noted_with_those_there_are(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("epoch 3 step 1/9 loss 0.5\nacc 0.25\n")
    reader = PatternReader(MINE)
    assert sample_check(log, reader, best=["acc"]).kind == "ok"
    found = sample_check(log, PatternReader(MINE), best=["acc", "accc"])
    assert found.kind == "note"
    assert found.what.endswith(
        "; no evaluation in it has accc, which checkpoint.best names; it has acc; did you mean acc?"
    )
    found = sample_check(log, ConsoleReader(), best=["loss"])
    assert found.what.endswith("has loss, which checkpoint.best names; it has none")


def test_a_best_metric_may_be_named_by_what_follows_its_last_slash(tmp_path: Path) -> None:
    log = tmp_path / "a.csv"
    log.write_text("epoch,loss,val/top/acc\n1,0.5,0.25\n")
    assert sample_check(log, RowReader(), best=["acc"]).kind == "ok"
    assert sample_check(log, RowReader(), best=["top/acc"]).kind == "ok"
