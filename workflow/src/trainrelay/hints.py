"""What to type, spelled so that it works where it is read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_DEFAULT = Path("config.yaml")
_COMMAND = re.compile(r"(trainrelay (?:accept|stop|watch|restore) [\w-]+/\w+(?: \d+\b)?)")


def with_configfile(text: str, configfile: Path | None) -> str:
    """The commands in a message name the config that the message is about."""
    if configfile is None or configfile == _DEFAULT:
        return text
    return _COMMAND.sub(lambda found: f"{found[1]} --configfile {shlex.quote(str(configfile))}", text)
