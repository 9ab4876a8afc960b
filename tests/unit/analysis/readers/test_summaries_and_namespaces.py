"""The parts of a console log that span lines: summaries of epochs, and printed arguments."""

from __future__ import annotations

import math

import pytest

from trainrelay.analysis.readers.summaries import SummaryReader, opens
from trainrelay.analysis.readers.trainer_config import NamespaceReader, parse


def said(*lines):
    reader = SummaryReader()
    return [(s.number, s.phase, s.name, s.value) for line in lines for s in reader.line(line)]


def arguments(*lines):
    reader = NamespaceReader()
    for line in lines:
        if not reader.feed(line):
            break
    return reader.literals()


def test_a_summary_in_a_block_names_phases_and_metrics():
    assert said(
        "Epoch 5 Summary:\n",
        "  Train Loss: 2.3878\n",
        "    - Coords Loss: 0.2107\n",
        "\n",
        "  Val Loss: 2.6 (best: 2.5)\n",
        "    - CE Loss: 1.9\n",
        "  Val PCK@0.1: 33.1%\n",
        "  Time: 0:04:18\n",
    ) == [
        (5, "train", "loss", 2.3878),
        (5, "train", "coords_loss", 0.2107),
        (5, "val", "loss", 2.6),
        (5, "val", "ce_loss", 1.9),
        (5, "val", "pck@0.1", 33.1),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "Epoch 3:  Train Loss: 66.23  Val Loss: 37.53\n",
        "Epoch 3: Train Loss: 66.23 Val Loss: 37.53\n",
        "Epoch [3/20], Train Loss: 66.23, Val Loss: 37.53\n",
        "Epoch 3/20 - train_loss: 66.23 - val_loss: 37.53\n",
        "Epoch 3 | Train Loss: 66.23 | Val Loss: 37.53\n",
    ],
)
def test_a_summary_on_one_line_is_read(line):
    assert said(line) == [(3, "train", "loss", 66.23), (3, "val", "loss", 37.53)]


@pytest.mark.parametrize(
    "line",
    [
        "Epoch [1][50/3517]\tlr: 7.973e-05, eta: 2 days, 5:46:49\n",
        "Epoch: [0] Total time: 0:04:18 (0.1774 s / it)\n",
        "Epoch 3: learning rate set to 0.1\n",
        "## Epoch Progress Line\n",
        "The loss of epoch 3 was 2\n",
    ],
)
def test_other_lines_are_no_summary(line):
    assert not opens(line)
    assert said(line) == []


def test_a_summary_ends_where_other_text_begins():
    assert said(
        "Epoch 1 Summary:\n", "  Train Loss: 2.0\n", "number of params: 3\n", "  Val Loss: 1.0\n"
    ) == [(1, "train", "loss", 2.0)]


def test_arguments_are_read_as_literals_and_the_others_left_out():
    assert arguments(
        "Namespace(lr=0.0001, masks=False, resume='', name='a, b=(\\'', none=None, sizes=[1, (2, 3)], "
        "dataset=PosixPath('x'), f=<function f at 0x7f, 3>, inner=Namespace(b=1), lr_drop=-200)\n"
    ) == {
        "lr": 0.0001,
        "masks": False,
        "resume": "",
        "name": "a, b=('",
        "none": None,
        "sizes": [1, (2, 3)],
        "lr_drop": -200,
    }


def test_arguments_on_many_lines_are_read_to_the_closing_parenthesis():
    assert arguments("Namespace(lr=0.1,\n", "epochs=5,\n", "opt=(1, 2))\n", "seed=3\n") == {
        "lr": 0.1,
        "epochs": 5,
        "opt": (1, 2),
    }


def test_arguments_that_are_cut_keep_what_is_whole():
    assert arguments("Namespace(lr=0.1, epochs=5, name='abc") == {"lr": 0.1, "epochs": 5}


def test_arguments_of_two_processes_on_many_lines_are_read():
    lines = ("Namespace(lr=0.1,\n", "Namespace(lr=0.1,\n", "epochs=5,\n", "epochs=5,\n", "seed=3)\n")
    assert arguments(*lines) == {"lr": 0.1, "epochs": 5, "seed": 3}


def test_arguments_are_never_executed(tmp_path):
    target = tmp_path / "executed"
    code = f"__import__('pathlib').Path({str(target)!r}).touch()"
    assert arguments(f"Namespace(lr=0.1, evil={code}, worse=1; {code}, seed=3)\n") == {"lr": 0.1, "seed": 3}
    assert not target.exists()


def test_an_integer_that_json_cannot_hold_is_read_as_json_would() -> None:
    said = parse([f"total_epochs = {10**20}", f"runner = dict(max_epochs={-(10**400)}, max_iters={10**15})"])
    assert said == {"total_epochs": 1e20, "runner.max_epochs": -math.inf, "runner.max_iters": 10**15}
    assert isinstance(said["total_epochs"], float)
