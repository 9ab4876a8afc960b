"""`trainrelay schema`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import BaseModel

from trainrelay.analysis import json_schema
from trainrelay.cli.printing import print_json
from trainrelay.config import schema
from trainrelay.records import AttemptRecord, Notice, TrainRecord


def _for_readers(model: type[BaseModel]) -> dict[str, Any]:
    """With keys that are not known: a later version may add some."""
    said = json.dumps(model.model_json_schema())
    found: dict[str, Any] = json.loads(
        said.replace('"additionalProperties": false', '"additionalProperties": true')
    )
    return found


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "config": schema,
    "train": partial(_for_readers, TrainRecord),
    "attempt": partial(_for_readers, AttemptRecord),
    "analysis": json_schema,
    "notice": partial(_for_readers, Notice),
}


def run(arguments: argparse.Namespace) -> None:
    """Print the JSON schema of config.yaml, or of what other tools may read."""
    print_json(SCHEMAS[arguments.of]())
