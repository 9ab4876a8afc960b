"""The only way in: plain data -> Config, all problems at once."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from pydantic import ValidationError

from trainrelay.config.contradictions import contradictions
from trainrelay.config.models import Config
from trainrelay.config.problems import describe
from trainrelay.errors import ConfigError


def parse(data: Any, source: str = "config.yaml") -> Config:
    """Config from plain data; ConfigError lists every problem with its path, value and remedy."""
    if not isinstance(data, Mapping):
        what = "empty" if data is None else "not a mapping (key: value lines)"
        raise ConfigError(source, [f"is {what}; begin with `runs:`"])
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(source, describe(error, data, Config)) from None
    # Where stages are in each other's way, there may be one for each pair.
    if problems := list(islice(contradictions(config), 1000)):
        raise ConfigError(source, problems)
    return config


def schema() -> dict[str, Any]:
    """JSON schema of config.yaml."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trainrelay config.yaml",
        **Config.model_json_schema(by_alias=True),
    }
