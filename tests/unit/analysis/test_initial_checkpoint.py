"""Scripts with argparse print no line when they load weights: their arguments tell, or nothing does."""

from __future__ import annotations

from typing import Any

import pytest

from trainrelay.analysis import analyze
from trainrelay.records import Expectation, Log, Marker, Row

EXPECTED = Expectation(initial_checkpoint="/data/ckpts/pose.pth")


def findings(config: dict[str, Any]) -> list[str]:
    log = Log(
        format="metriclogger-text",
        sources=("trainer.log",),
        rows=(Row(1, 1, 0, "train", 0, {"loss": 2.0}), Row(2, 1, 1, "train", 0, {"loss": 1.0})),
        markers=(Marker("started", "Start training", 0),),
        iters_per_epoch=2,
        config=config,
    )
    found = analyze(log, EXPECTED).findings
    return [finding.message for finding in found if finding.check == "initial-checkpoint"]


@pytest.mark.parametrize("config", [{}, {"finetune": ""}, {"finetune": "ckpts/pose.pth"}])
def test_silence_and_the_expected_file_are_no_fault(config: dict[str, Any]) -> None:
    assert findings(config) == []


def test_another_file_among_the_arguments_blocks() -> None:
    (message,) = findings({"finetune": "ckpts/other.pth"})
    assert message.endswith("but loaded ckpts/other.pth instead.")
