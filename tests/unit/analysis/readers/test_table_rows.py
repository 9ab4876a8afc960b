"""Tables: CSV, JSON Lines, Lightning's metrics.csv, Hugging Face's trainer_state.json."""

from __future__ import annotations

import json

import pytest

from trainrelay.analysis.readers import read
from trainrelay.errors import UnknownLogError


def log_of(tmp_path, text, name="log"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read([path])


def rows(log):
    return [(row.phase, row.epoch, row.step, dict(row.values)) for row in log.rows]


def lines(*objects):
    return "".join(json.dumps(one) + "\n" for one in objects)


def state(*history, **more):
    return json.dumps(
        {"max_steps": 200, "num_train_epochs": 2, **more, "log_history": list(history)}, indent=2
    )


HISTORY = (
    {"epoch": 0.5, "learning_rate": 1e-4, "loss": 2.0, "step": 50},
    {"epoch": 1.0, "learning_rate": 5e-5, "loss": 1.0, "step": 100},
    {"epoch": 1.0, "eval_loss": 1.5, "eval_runtime": 3.4, "step": 100},
    {"epoch": 1.0, "step": 100, "train_loss": 1.4, "train_runtime": 100.0},
)


@pytest.mark.parametrize("spelled", [state(*HISTORY), json.dumps(json.loads(state(*HISTORY)))])
def test_a_trainer_state_is_read_by_its_steps_however_it_is_laid_out(tmp_path, spelled):
    """Times of an evaluation and the summary of the whole training are no metrics."""
    log = log_of(tmp_path, spelled)
    assert log.format == "huggingface-json"
    assert rows(log) == [
        ("train", 1, 50, {"lr": 1e-4, "loss": 2.0}),
        ("train", 1, 100, {"lr": 5e-5, "loss": 1.0}),
        ("val", 1, 100, {"loss": 1.5}),
    ]
    assert (log.iters_per_epoch, log.segments) == (200, 1)


def test_a_trainer_state_that_was_cut_has_the_rows_before_and_a_skipped_line(tmp_path):
    """No row would mean that nothing was trained."""
    log = log_of(tmp_path, state(*HISTORY)[:-200])
    assert [(phase, step) for phase, _, step, _ in rows(log)] == [("train", 50), ("train", 100)]
    assert log.skipped_lines == 1


@pytest.mark.parametrize("history", ["[1, null]", "{}", "null", '[{"step": 1e400, "loss": "x"}]'])
def test_a_hostile_trainer_state_is_survived(tmp_path, history):
    assert log_of(tmp_path, f'{{"log_history": {history}}}').rows == ()


def test_lightnings_rows_of_one_step_are_one(tmp_path):
    """Its steps count from 0; means of an epoch are left out where each step is logged as well."""
    log = log_of(
        tmp_path,
        "epoch,lr-AdamW,step,train_loss_epoch,train_loss_step,val_loss\n"
        ",0.001,0,,,\n0,,0,,9.0,\n,0.001,49,,,\n0,,49,,8.0,\n0,,49,,,8.5\n0,,49,8.4,,\n1,,99,,7.0,\n",
    )
    assert rows(log) == [
        ("train", 1, 1, {"lr": 0.001, "loss": 9.0}),
        ("train", 1, 50, {"lr": 0.001, "loss": 8.0}),
        ("val", 1, 50, {"loss": 8.5}),
        ("train", 1, 100, {"loss": 7.0}),
    ]


def test_steps_that_go_back_begin_a_segment(tmp_path):
    places = ((10, 3.0), (20, 2.0), (30, 1.0), (20, 1.8), (30, 0.9))
    log = log_of(tmp_path, lines(*({"step": step, "loss": loss} for step, loss in places)))
    assert [(step, values["loss"]) for _, _, step, values in rows(log)] == [(10, 3.0), (20, 1.8), (30, 0.9)]
    assert (log.segments, log.redone_iterations) == (2, 20)


def test_a_table_of_epochs_is_read_by_epochs(tmp_path):
    """YOLO pads its names and calls an evaluation's scores metrics."""
    log = log_of(tmp_path, "  epoch,  train/box_loss, metrics/mAP_0.5\n  0,  2.5,  0.1\n  1,  2.0,  0.2\n")
    assert rows(log) == [
        ("train", 1, 1, {"box_loss": 2.5}),
        ("val", 1, 1, {"mAP_0.5": 0.1}),
        ("train", 2, 2, {"box_loss": 2.0}),
        ("val", 2, 2, {"mAP_0.5": 0.2}),
    ]
    assert log.epochs_only


def test_iterations_that_begin_again_with_each_epoch_are_those_of_the_epoch(tmp_path):
    log = log_of(tmp_path, "epoch,step,loss\n" + "".join(f"{e},{i},2.0\n" for e in (0, 1) for i in (1, 2, 3)))
    assert [(row.epoch, row.iteration) for row in log.rows] == [(e, i) for e in (1, 2) for i in (1, 2, 3)]


@pytest.mark.parametrize(
    "text",
    [
        "name,age\nA,3\n",
        "epoch,name\n1,x\n",
        lines({"id": 1, "price": 3.5}),
        lines({"step": "one", "loss": "high"}),
        "In this step, the loss of my keys is a score, an error\n",
    ],
)
def test_a_table_without_a_count_and_a_metric_is_no_log(tmp_path, text):
    with pytest.raises(UnknownLogError, match=r"CSV and JSON Lines"):
        log_of(tmp_path, text)


def test_llama_factorys_steps_are_counted(tmp_path):
    """Its trainer_log.jsonl has an epoch of two digits, and several rows to each."""
    places = ((10, 0.02), (20, 0.02), (30, 0.03), (60, 1.0), (70, 1.01))
    history = [
        {
            "current_steps": step,
            "total_steps": 100,
            "loss": 3.0 - step / 50,
            "epoch": epoch,
            "percentage": step,
        }
        for step, epoch in places
    ]
    log = log_of(tmp_path, lines(*history), "trainer_log.jsonl")
    assert [step for _, _, step, _ in rows(log)] == [10, 20, 30, 60, 70]
    assert (log.segments, log.iters_per_epoch, log.superseded) == (1, 100, 0)
