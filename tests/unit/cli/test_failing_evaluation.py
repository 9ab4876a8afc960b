"""A trainer that fails after every epoch and its checkpoint is trained to the end, but not in silence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from support.toy_project import ToyByRate, ToyProject, make_checkout
from trainrelay.errors import NoProgress
from trainrelay.operations.analyze import analyze_stage
from trainrelay.records import Analysis, Finding
from trainrelay.trainers import Launch, LaunchRequest
from trainrelay.training.context import StageContext

LAUNCH = ToyByRate.launch
pytestmark = pytest.mark.process


def analysed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *habits: str) -> tuple[Analysis, Finding]:
    """A stage that is trained with a habit per start, and what its attempts report."""
    project = ToyProject(make_checkout(tmp_path, monkeypatch, 0.1), tmp_path / "out")
    for habit in habits:

        def launch(
            self: ToyByRate, request: LaunchRequest, inherited: Mapping[str, str], habit: str = habit
        ) -> Launch:
            made = LAUNCH(self, request, inherited)
            return replace(made, argv=(*made.argv, "--habit", habit))

        monkeypatch.setattr(ToyByRate, "launch", launch)
        with suppress(NoProgress):
            project.train()
    analysis = analyze_stage(StageContext(project.config(), "r", "s"))
    (finding,) = (one for one in analysis.findings if one.check == "attempts")
    return analysis, finding


def test_an_exception_after_each_epoch_is_a_warning_that_quotes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the last one, which ended a training that was finished; the number in it is not what differs."""
    analysis, finding = analysed(tmp_path, monkeypatch, "evaluation-raises")
    assert finding.severity == "warning"
    assert not finding.blocking
    assert "3 attempts saved a checkpoint, then failed: " in finding.message
    quoted = r"KeyError: 'results of epoch N' \(\S+toy_trainer.py, line \d+\)"
    assert re.search(rf"{quoted}\. 3 attempts: 2 trainer-bug, 1 done\.", finding.message)
    assert analysis.verdict.kind == "warning"


def test_an_exception_that_was_fixed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those attempts brought no checkpoint: the launch gave up, and the user knows of it."""
    analysis, finding = analysed(tmp_path, monkeypatch, "raises", "good")
    assert finding.severity == "info"
    assert analysis.verdict.kind == "healthy"


def test_a_single_exception_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert analysed(tmp_path, monkeypatch, "raises-once")[1].severity == "info"
