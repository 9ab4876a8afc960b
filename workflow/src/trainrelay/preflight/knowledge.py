"""Your own files that say what metrics mean: named in the config, and learned before anything is judged."""

from __future__ import annotations

from pathlib import Path

from trainrelay.config import Config, load_as
from trainrelay.errors import ConfigError


def use_knowledge(config: Config) -> list[ConfigError]:
    """What your own files say of metrics, from here on; the mistakes of those that are left out."""
    if not config.knowledge:
        return []
    from trainrelay.analysis import Knowledge, learn  # noqa: PLC0415 - a plan need not load it

    good, wrong = list[Knowledge](), list[ConfigError]()
    for path in config.knowledge:
        try:
            good.append(load_as(Knowledge, Path(path), "docs/judgement.md"))
        except ConfigError as error:
            wrong.append(error)
    learn(good)
    return wrong


def refuse_wrong_knowledge(config: Config) -> None:
    """ConfigError for the first file with mistakes: a training of days is not to end with it."""
    for error in use_knowledge(config):
        raise error
