"""tqdm's progress bars: which are a training's, and what they say."""

from __future__ import annotations

import pytest

from trainrelay.progress_lines.bars import training_bar
from trainrelay.trainers import TRAINERS, StepSeen

KIND = TRAINERS["metriclogger"]
BAR = "Epoch 4:  33%|███▎      | 1/3 [00:01<00:02,  1.20s/it, loss=28.5012, loss_ce=0.14, lr=0.000100]"


@pytest.mark.parametrize(
    "line",
    [
        BAR,
        f"[default0]:{BAR}",
        BAR.replace("███▎      ", "###3      "),
        BAR.replace("███▎      ", "\x1b[31m███\x1b[0m       ") + "   \x1b[A",
        BAR.replace("|███▎      |", ""),  # ncols=0
        BAR.replace("Epoch 4", "Epoch 4/10"),
        BAR.replace("Epoch 4", "epoch: 4"),
        BAR.replace("Epoch 4", "Train Epoch [4/10]"),
        BAR.replace("Epoch 4", "Epoch 4 [Train]"),
        BAR[:95] + "0.0001",  # cut to the width of a terminal
        BAR.replace("1.20s/it", "?it/s") + "Traceback (most recent call last):",
    ],
)
def test_a_bar_of_a_training_is_progress(line: str) -> None:
    """Epochs in descriptions count as in headers."""
    assert KIND.observe(line) == StepSeen(5, 1, 3, 28.5012, None)


@pytest.mark.parametrize(
    "line",
    [
        BAR.replace("Epoch 4: ", ""),
        BAR.replace("Epoch 4", "Validation (Autoregressive)"),
        BAR.replace("Epoch 4", "Validation Epoch 4"),
        BAR.replace("Epoch 4", "Epoch 4 [val]"),
        BAR.replace("Epoch 4", "Epoch 4 eval"),
        BAR.replace("Epoch 4", "Test (Unseen) PCK@0.2"),
        BAR.replace("Epoch 4", "Downloading epoch4.pth"),
        BAR.replace("Epoch 4", "Epochs"),
        "Epochs:  33%|███▎      | 1/3 [00:01<00:02,  1.20s/it]",
        "Epoch 4: 1it [00:01,  1.20s/it]",
        BAR.replace("1/3 ", "1.00k/3.00k "),
        BAR.replace("33%", "99%"),  # torn: parts of two states
        BAR[: BAR.index("/3 [") + 2],  # half written: more digits may follow
        BAR.replace("1/3", "0/3").replace("33%", "0%"),  # nothing is done yet
        "Epoch 4:   0%|          | 0/0 [00:00<?, ?it/s]",
        "Epoch 4: 150%|██████████| 3/2 [00:01<00:02,  1.20s/it]",
        "epoch " + "9" * 5000 + ":  33%|" + "|" * 60_000,
    ],
)
def test_other_bars_and_torn_ones_are_none(line: str) -> None:
    """An epoch is never guessed."""
    assert KIND.observe(line) is None


def test_of_a_half_written_number_nothing_is_taken() -> None:
    for end in range(BAR.index("[00:01<") + 7, len(BAR)):
        bar = training_bar(BAR[:end])
        assert bar is not None
        assert bar.numbers.items() <= {"loss": "28.5012", "loss_ce": "0.14", "lr": "0.000100"}.items()
