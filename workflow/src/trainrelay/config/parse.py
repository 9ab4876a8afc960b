"""The only way in: plain data -> Config, all problems at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from pydantic import ValidationError

from trainrelay.config.contradictions import contradictions
from trainrelay.config.models import Config
from trainrelay.config.problems import describe, place
from trainrelay.errors import ConfigError
from trainrelay.trainers import TRAINERS


def parse(data: Any, source: str = "config.yaml") -> Config:
    """Config from plain data; ConfigError lists every problem with its path, value and remedy."""
    if not isinstance(data, Mapping):
        what = "empty" if data is None else "not a mapping (key: value lines)"
        raise ConfigError(source, [f"is {what}; begin with `runs:`"])
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(source, [*describe(error, data, Config), *_elsewhere(error, data)]) from None
    # Where stages are in each other's way, there may be one for each pair.
    if problems := list(islice(contradictions(config), 1000)):
        raise ConfigError(source, problems)
    return config


def _elsewhere(error: ValidationError, data: Any) -> Iterator[str]:
    """The contradictions of what has nothing wrong in it, and every bad init_from."""
    rest, wrong = copy.deepcopy(data), set()
    for detail in error.errors(include_url=False):
        match place(detail["loc"], data):
            case ["runs", str(run), "stages", str(stage), *_]:
                wrong.add(f"runs.{run}.stages.{stage}.")
                stages = rest["runs"][run]["stages"]
                parent = stages[stage].get("init_from") if isinstance(stages[stage], dict) else None
                stages[stage] = {"config": "-", "epochs": 1, "init_from": parent}
            case ["runs", str(run), "trainer", *_]:
                wrong.add(f"runs.{run}.")
                rest["runs"][run]["trainer"] = {"kind": next(iter(TRAINERS)), "nproc_per_node": 1}
            case [str(key), *_] if key not in ("rungs", "runs"):
                rest.pop(key, None)
    with suppress(ValidationError):
        for line in contradictions(Config.model_validate(rest)):
            if ".init_from: " in line or not line.startswith(tuple(wrong)):
                yield line


def schema() -> dict[str, Any]:
    """JSON schema of config.yaml; a stage's trainer may leave out any key."""
    said = Config.model_json_schema(by_alias=True)
    some_keys = {key: value for key, value in said["$defs"]["TrainerSettings"].items() if key != "required"}
    said["$defs"]["StageTrainer"] = some_keys
    said["$defs"]["Stage"]["properties"]["trainer"]["anyOf"][0] = {"$ref": "#/$defs/StageTrainer"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trainrelay config.yaml",
        **said,
    }
