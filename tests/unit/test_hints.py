"""Commands inside messages name the config that the message is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.hints import with_configfile


@pytest.mark.parametrize("verb", ["accept", "stop", "watch", "restore"])
def test_a_command_names_a_config_that_is_not_the_default(verb: str) -> None:
    said = f"look with: trainrelay {verb} uniad/stage1 --x"
    expected = f"look with: trainrelay {verb} uniad/stage1 --configfile 'my config.yaml' --x"
    assert with_configfile(said, Path("my config.yaml")) == expected
    assert with_configfile(said, Path("config.yaml")) == said


def test_a_number_after_the_stage_stays_with_it() -> None:
    said = with_configfile("run: trainrelay restore uniad/stage1 12; or wait", Path("my.yaml"))
    assert said == "run: trainrelay restore uniad/stage1 12 --configfile my.yaml; or wait"
