"""Trainings that count iterations: each evaluation is held against the training since the one before."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from trainrelay.analysis import analyze, compare, read
from trainrelay.analysis.readers.assemble import assemble
from trainrelay.analysis.readers.events import RowSeen
from trainrelay.records import Analysis, Finding, Marker


def trainer_state(path: Path, val: list[float], last: float = 0.2, score: list[float] | None = None) -> Path:
    """Hugging Face's: a row each 10 steps, an evaluation each 100."""
    steps = 100 * len(val)
    history = [
        {"epoch": step / 500, "learning_rate": 1e-4, "loss": 2.0 + (last - 2.0) * step / steps, "step": step}
        for step in range(10, steps + 1, 10)
    ]
    for at, value in enumerate(val):
        scores = {"eval_accuracy": score[at]} if score else {}
        place = next(n for n, row in enumerate(history) if row["step"] == 100 * (at + 1)) + 1
        history.insert(place, {"epoch": (at + 1) / 5, "eval_loss": value, **scores, "step": 100 * (at + 1)})
    path.write_text(json.dumps({"max_steps": steps, "log_history": history}))
    return path


@pytest.mark.parametrize(("newest", "place"), [(150, 150), (90, 100)])
def test_an_evaluation_that_counts_its_batches_is_at_the_newest_line_or_checkpoint(newest, place):
    """The checkpoint before it may be much older, as may be the newest line."""
    row = partial(RowSeen, 1, phase="train", values={"loss": 1.0}, key=None, max_iters=400, by_iteration=True)
    saved = Marker("saved", "at 100 iterations", iteration=100)
    val = RowSeen(1, 5, "val", {"mIoU": 0.5}, None, by_iteration=True)
    log = assemble("mmcv-text", ["log"], [[row(iteration=50), saved, row(iteration=newest), val]])
    assert [(one.step, one.iteration) for one in log.rows if one.phase == "val"] == [(place, place)]


def of_check(analysis: Analysis, check: str) -> Finding:
    (finding,) = [one for one in analysis.findings if one.check == check]
    return finding


def test_a_validation_loss_that_rises_is_overfitting_at_its_iteration(tmp_path):
    rises = [1.5, 1.2, 1.0, 1.1, 1.25, 1.4, 1.6, 1.8]
    finding = of_check(analyze(read([trainer_state(tmp_path / "a", rises)])), "validation")
    assert (finding.severity, finding.where) == ("warning", "iter 300")
    assert "Overfitting from iter 300 on" in finding.message
    assert "1.8) at iter 800" in finding.message.replace("is 1.8 at", "1.8) at")
    assert "epoch" not in finding.message
    assert finding.evidence["best_iter"] == 300
    # The mean of steps 210 to 300.
    assert finding.evidence["train_at_best"] == pytest.approx(2.0 - 1.8 * 255 / 800)


def test_one_that_falls_with_the_training_is_none(tmp_path):
    falls = [1.9, 1.6, 1.4, 1.2, 1.0, 0.8, 0.6, 0.45]
    analysis = analyze(read([trainer_state(tmp_path / "a", falls)]))
    assert analysis.verdict.kind == "healthy"
    assert "follows training" in of_check(analysis, "validation").message


def test_a_score_that_gets_worse_names_the_loss_that_falls_meanwhile(tmp_path):
    falls = [1.9, 1.6, 1.4, 1.2, 1.0, 0.8, 0.6, 0.45]
    score = [0.4, 0.6, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4]
    state = trainer_state(tmp_path / "a", falls, score=score)
    finding = of_check(analyze(read([state])), "validation-metric")
    assert "0.8 at iter 300, its best, 0.4 now, while the validation loss fell from 1.4" in finding.message


def test_rows_after_the_last_evaluation_are_not_held_against_it(tmp_path):
    table = ["step,loss,val_loss", "10,2.0,", "20,1.9,", "20,,1.9", "30,1.7,", "40,1.6,"]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(table))
    assert "is 1.9 against 1.95 in training" in of_check(analyze(read([path])), "validation").message


def test_lightnings_and_mmsegs_are_judged_alike(tmp_path):
    table = ["epoch,step,train_loss,val_loss"]
    for step in range(10, 801, 10):
        table.append(f"0,{step},{2 - step / 500:.4f},")
        if step % 100 == 0:
            table.append(f"0,{step},,{1.0 + abs(step - 300) / 500:.4f}")
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(table))
    assert of_check(analyze(read([path])), "validation").where == "iter 300"


def test_two_that_part_do_so_from_an_iteration_on(tmp_path):
    falls = [1.9, 1.6, 1.4, 1.2, 1.0, 0.8, 0.6, 0.45]
    one, other = (trainer_state(tmp_path / name, falls, last) for name, last in (("a", 0.2), ("b", 1.9)))
    parted, _ = compare(read([one]), read([other]))
    assert "from iter " in parted
    assert "epoch" not in parted
