"""Your own files that say what metrics mean: named in the config, and learned before anything is judged."""

from __future__ import annotations

import sys
from pathlib import Path

from trainrelay.config import Config, load_as
from trainrelay.errors import ConfigError, UserError


def use_knowledge(config: Config) -> list[ConfigError]:
    """What your own files say of metrics, from here on; the mistakes of those that are left out."""
    # A plan need not load it; what was not loaded has learned nothing.
    if not config.knowledge and "trainrelay.analysis" not in sys.modules:
        return []
    from trainrelay.analysis import Knowledge, learn  # noqa: PLC0415

    good, wrong = list[Knowledge](), list[ConfigError]()
    for path in config.knowledge:
        try:
            good.append(load_as(Knowledge, Path(path), "docs/judgement.md"))
        except ConfigError as error:
            wrong.append(error)
    learn(good)
    return wrong


def refuse_wrong_knowledge(config: Config) -> None:
    """UserError for the files with mistakes: a training of days is not to end with them."""
    if wrong := use_knowledge(config):
        raise UserError("\n".join(map(str, wrong)))
