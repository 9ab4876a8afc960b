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
