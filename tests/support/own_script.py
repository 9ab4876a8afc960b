"""The trainer and the config of docs/my_own_script.md."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

_PAGE = (Path(__file__).parents[2] / "docs/my_own_script.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)


SCRIPT, AT_ITS_START, ASKED = _blocks("python")
CONFIG = yaml.safe_load(_blocks("yaml")[0])


def changed(source: str, *changes: tuple[str, str]) -> str:
    """A script with some text in place of other, which it has once."""
    for before, after in changes:
        assert source.count(before) == 1, f"{before!r} is {source.count(before)} times in it"
        source = source.replace(before, after)
    return source
