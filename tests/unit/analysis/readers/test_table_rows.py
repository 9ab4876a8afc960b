"""Tables: CSV, JSON Lines, Lightning's metrics.csv, Hugging Face's trainer_state.json."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from trainrelay.analysis import analyze
from trainrelay.analysis.readers import clean, read
from trainrelay.errors import LogError, UnknownLogError


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


@pytest.mark.parametrize("index", ["", ",", "0,"])
def test_a_history_that_was_written_to_a_table_has_a_row_per_epoch(tmp_path, index):
    head = index.replace("0", "")
    log = log_of(tmp_path, f"{head}loss,val_loss\n{index}0.5,0.75\n{index}0.25,0.5\n")
    assert [(phase, epoch, values["loss"]) for phase, epoch, _, values in rows(log)] == [
        *(("train", 1, 0.5), ("val", 1, 0.75), ("train", 2, 0.25), ("val", 2, 0.5))
    ]


def test_thresholds_are_parts_of_a_name(tmp_path):
    """YOLOv5's results.csv."""
    head = "      epoch,   train/box_loss,  metrics/mAP_0.5, metrics/mAP_0.5:0.95,      x/lr0"
    log = log_of(
        tmp_path, f"{head}\n" + "".join(f"  {epoch},  0.5,  0.25,  0.125,  0.01\n" for epoch in (0, 1))
    )
    assert rows(log)[:2] == [
        ("train", 1, 1, {"box_loss": 0.5, "x/lr0": 0.01}),
        ("val", 1, 1, {"mAP_0.5": 0.25, "mAP_0.5:0.95": 0.125}),
    ]


def test_detectron2s_scores_are_of_an_evaluation_and_nan_where_there_are_no_objects(tmp_path):
    step = {"iteration": 19, "total_loss": 1.5}
    log = log_of(
        tmp_path, lines(step, {**step, "iteration": 39, "bbox/AP": 9.5, "bbox/APs": math.nan, "segm/AP": 8.5})
    )
    assert rows(log)[2][0] == "val"
    assert set(rows(log)[2][3]) == {"bbox/AP", "bbox/APs", "segm/AP"}
    assert not [one for one in analyze(log).findings if one.severity != "info"]


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


STEPS = ((10, 3.0), (20, 2.0))
TWO_STEPS = [("train", 1, 10, {"loss": 3.0}), ("train", 1, 20, {"loss": 2.0})]


@pytest.mark.parametrize(
    "text",
    [
        ",step,loss\n0,10,3.0\n1,20,2.0\n",  # of pandas, with its index
        "step;loss\n10;3,0\n20;2,0\n",
        "step\tloss\n10\t3.0\n20\t2.0\n",
        "step,loss\n   10\t3.0\n   20\t2.0\n",
        '"Step","lucky-sun-1 - train/loss","lucky-sun-1 - train/loss__MIN","lucky-sun-1 - train/loss__MAX"\n'
        '"10","3.0","3.0","3.0"\n"20","2.0","1.9","2.1"\n',
        "_step,_runtime,_timestamp,train/loss\n10,5.5,1.7e9,3.0\n20,9.5,1.7e9,2.0\n",
        "_step,trainer/global_step,train/loss\n0,10,3.0\n1,20,2.0\n",
        json.dumps([{"step": step, "loss": loss} for step, loss in STEPS]),
        json.dumps([{"step": step, "loss": loss} for step, loss in STEPS], indent=2),
        json.dumps([{"step": step, "loss": loss} for step, loss in STEPS], indent=2)[:-3] + '},\n  {"step"',
    ],
)
def test_a_table_is_read_however_its_cells_are_separated_named_and_quoted(tmp_path, text):
    assert rows(log_of(tmp_path, text)) == TWO_STEPS


def test_a_list_that_would_fill_the_memory_is_refused_with_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(clean, "WHOLE_LIMIT", 5_000)
    rows = [{"step": step, "loss": 1.5} for step in range(300)]
    for text in (json.dumps(rows, indent=2), state(*rows)):
        with pytest.raises(LogError, match=r"an object per line, as by jq -c '\.\[\]'"):
            log_of(tmp_path, text)
    assert log_of(tmp_path, lines(*rows)).rows


def test_tensorboards_export_names_no_metric(tmp_path):
    log = log_of(tmp_path, "Wall time,Step,Value\n1.7e9,10,3.0\n1.7e9,20,2.0\n")
    assert rows(log) == [(phase, epoch, step, {"Value": x["loss"]}) for phase, epoch, step, x in TWO_STEPS]


def test_what_hugging_faces_trainer_prints_is_at_the_step_of_its_bar(tmp_path):
    """The bar of an evaluation has another length. A NaN is no name of Python."""
    log = log_of(
        tmp_path,
        "  2%|2    | 10/500 [00:05<04:05,  2.0it/s]\r{'loss': 2.5, 'learning_rate': 5e-05, 'epoch': 0.1}\n"
        "  4%|4         | 20/500 [00:10<04:00,  2.0it/s]\n{'loss': nan, 'grad_norm': inf, 'epoch': 0.2}\n"
        " 50%|#####     | 3/6 [00:01<00:01]\n{'eval_loss': '2.4', 'eval_runtime': '1.5', 'epoch': '0.2'}\n"
        "{'train_runtime': 9.1, 'train_loss': 2.2, 'epoch': 0.2}\n"
        'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\nValueError: no such class\n',
    )
    assert [(phase, step, [*values]) for phase, _, step, values in rows(log)] == [
        ("train", 10, ["loss", "lr"]),
        ("train", 20, ["loss", "grad_norm"]),
        ("val", 20, ["loss"]),
    ]
    assert log.iters_per_epoch == 500
    assert [marker.text for marker in log.markers] == ["ValueError: no such class"]


def test_the_numbers_of_its_fifth_version_are_in_quotes(tmp_path):
    text = "".join(
        f"{bar(at, 90)}{{'loss': '{9 / at}', 'lr': '5e-05', 'epoch': '0.{at}'}}\n" for at in (10, 20)
    )
    assert [(step, values["loss"]) for _, _, step, values in rows(log_of(tmp_path, text))] == [
        (10, 0.9),
        (20, 0.45),
    ]


def test_without_a_bar_its_rows_are_numbered(tmp_path):
    text = "".join(f"{{'loss': {3 - n / 10}, 'epoch': {n / 2}}}\n" for n in (1, 2, 3))
    log = log_of(tmp_path, text)
    assert [step for _, _, step, _ in rows(log)] == [1, 2, 3]
    assert log.setup["iterations"].endswith("each line counts as one; the last one is of epoch 1.5")
    assert log.iters_per_epoch is None
    end = "{'eval_loss': 2.8, 'epoch': 1.5}\n{'train_runtime': 9.1, 'train_loss': 2.2, 'epoch': 1.5}\n"
    ended = log_of(tmp_path, text + end)
    assert [step for _, _, step, _ in rows(ended)] == [1, 2, 3, 3], "an evaluation is of the line before it"
    assert ended.iters_per_epoch == 3, "its last row says that all was trained"


@pytest.mark.parametrize(
    "line", ["{'" * 3000, "{'epoch': 1, 'loss': __import__('os')}", "{'epoch': 1, 'loss': [[[[", "{''}"]
)
def test_a_hostile_dict_is_survived(tmp_path, line):
    assert len(log_of(tmp_path, f"step,loss\n1,3.0\n{line}\n2,2.0\n").rows) == 2


def bar(at, length):
    return f" {100 * at // length}%|###   | {at}/{length} [00:01<00:03, 5.0it/s]\n"


def trained(*steps, length=400):
    return "".join(f"{bar(at, length)}{{'loss': {9 / at}, 'epoch': {at / 200}}}\n" for at in steps)


@pytest.mark.parametrize(
    "before",
    [
        bar(50000, 50000),  # of a data set that is prepared
        bar(50, 50) + "{'eval_loss': 3.0, 'epoch': 0}\n",  # an evaluation at the start
        trained(10, 20, length=200),  # a start that asked for fewer steps
    ],
)
def test_a_row_of_training_is_at_the_step_of_the_bar_just_before_it(tmp_path, before):
    log = log_of(tmp_path, before + trained(30, 40, 50))
    assert [step for phase, _, step, _ in rows(log) if phase == "train"][-3:] == [30, 40, 50]
    assert log.iters_per_epoch == 400


def test_a_bar_that_stands_still_counts_no_steps(tmp_path):
    text = "".join(f"{{'loss': {9 / at}, 'epoch': {at / 20}}}\n" for at in (1, 2, 3))
    assert [step for _, _, step, _ in rows(log_of(tmp_path, bar(50000, 50000) + text))] == [1, 2, 3]


def test_numbers_in_quotes_are_numbers(tmp_path):
    """Hugging Face's Trainer prints them from version 5 on."""
    text = "".join(
        f"{{'loss': '{3 - n / 10}', 'learning_rate': '5e-05', 'epoch': '{n / 2}'}}\n" for n in (1, 2, 3)
    )
    assert [x["loss"] for *_, x in rows(log_of(tmp_path, text))] == [2.9, 2.8, 2.7]


def test_rows_in_bulk_behind_a_bar_are_placed_by_their_epochs(tmp_path):
    """Where the standard output is a file, they come later than the bar, which is an error output's."""
    printed = [f"{{'loss': {9 / n}, 'epoch': {n / 5}}}\n" for n in range(1, 11)]
    text = "".join(
        [bar(40, 100), *printed[:5], bar(70, 100), *printed[5:], bar(100, 100).replace("|###   |", "")]
    )
    log = log_of(tmp_path, text)
    assert [step for _, _, step, _ in rows(log)] == [*range(10, 101, 10)]
    assert log.iters_per_epoch == 100
    cut = log_of(tmp_path, text.partition("100%")[0])
    assert [step for _, _, step, _ in rows(cut)] == [*range(1, 11)]


@pytest.mark.parametrize(
    ("between", "steps"), [("", [3, 4]), ("{'train_runtime': 9, 'train_loss': 2, 'epoch': 2}\n", [1, 2])]
)
def test_rows_that_nothing_counts_and_that_go_back_are_of_another_start(tmp_path, between, steps):
    """From the same epoch on; after the end of a training, of another one."""

    def text(*epochs):
        return "".join(f"{{'loss': {3 - at}, 'epoch': {at}}}\n" for at in epochs)

    log = log_of(tmp_path, text(0.5, 1.0, 1.5, 2.0) + between + text(1.5, 1.75))
    assert log.segments == 2
    assert [row.step for row in log.rows if row.segment == 1] == steps


ERROR = 'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\nRuntimeError: CUDA error\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (trained(10, 20, 30), trained(20, 30, 40, 50)),
        (
            lines(*({"epoch": n, "loss": 3 / n} for n in (1, 2))),
            lines(*({"epoch": n, "loss": 3 / n} for n in (2, 3, 4, 5))),
        ),
    ],
)
def test_an_error_is_at_its_place_among_the_rows(tmp_path, before, after):
    """At the end it would be how the training ended."""
    log = log_of(tmp_path, before + ERROR + after)
    assert [one.segment for one in log.markers if one.text == "RuntimeError: CUDA error"] == [0]
    assert log.segments == 2


def test_a_column_of_an_evaluation_keeps_its_name(tmp_path):
    log = log_of(
        tmp_path,
        lines(
            {"Epoch": 1, "phase": "train", "loss": 3.0},
            {"Epoch": 1, "phase": "val", "val_loss": 2.0, "acc": 0.5},
        ),
    )
    assert rows(log)[-1] == ("val", 1, 1, {"loss": 2.0, "acc": 0.5})


@pytest.mark.parametrize("length", ["1e999", "NaN", "1e300"])
def test_a_length_that_is_no_number_of_iterations_is_left_out(tmp_path, length):
    text = "".join(f'{{"epoch": 1, "iter": {n}, "iters": {length}, "loss": 0.9}}\n' for n in (1, 2, 3))
    log = log_of(tmp_path, text)
    assert len(log.rows) == 3
    assert not log.iters_per_epoch


def test_the_history_of_keras_has_a_list_for_each_metric(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    path.write_text('{"loss": [0.9, 0.5, 0.25], "val_loss": [0.8, 0.75, 0.5]}')
    log = read([path])
    assert [(row.epoch, row.values["loss"]) for row in log.rows if row.phase == "train"] == [
        (1, 0.9),
        (2, 0.5),
        (3, 0.25),
    ]
    assert [row.values["loss"] for row in log.rows if row.phase == "val"] == [0.8, 0.75, 0.5]
    for other in ('"points": [[1, 2], [3, 4]], "loss": 3', '"score": [1, 2], "accuracy": [3, 4]'):
        path.write_text(f"{{{other}}}")
        with pytest.raises(UnknownLogError):
            read([path])


@pytest.mark.parametrize("count", ["time/total_timesteps", "total/steps", "i", "Itr"])
def test_counts_as_loggers_of_reinforcement_learning_name_them(tmp_path, count):
    log = log_of(tmp_path, f"time/fps,{count},rollout/ep_rew_mean\n90,2048,1.5\n91,4096,2.5\n")
    assert [(row.step, row.values["rollout/ep_rew_mean"]) for row in log.rows] == [(2048, 1.5), (4096, 2.5)]


def test_a_loss_that_rises_with_the_reward_is_no_warning(tmp_path):
    table = "".join(f"{100 * step},{step},{-1.5 + step / 50}\n" for step in range(1, 60))
    log = log_of(tmp_path, f"total/steps,rollout/ep_rew_mean,train/entropy_loss\n{table}")
    assert [one.message for one in analyze(log).findings if one.severity != "info"] == []


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("behind", [1, 2])
def test_rows_of_another_node_that_lags_behind_are_no_restart(tmp_path, behind, drawn):
    """Each node prints them, and the summary at the end."""
    bar = " 50%|##  | {at}/20 [00:01<00:02,  2.00it/s]\n" if drawn else ""
    one = [f"{bar.format(at=at)}{{'loss': {3 - at / 10}, 'epoch': {at / 5}}}\n" for at in range(1, 21)]
    one.append("{'train_runtime': 9.0, 'train_loss': 2.0, 'epoch': 4.0}\n")
    both = zip([*one, *[""] * behind], [*[""] * behind, *one], strict=True)
    log = log_of(tmp_path, "".join(text for pair in both for text in pair))
    assert (log.restarts, [row.step for row in log.rows]) == (0, [*range(1, 21)])
