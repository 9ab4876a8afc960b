"""`trainrelay schema`."""

from __future__ import annotations

import argparse
from typing import Any

from trainrelay.analysis import json_schema
from trainrelay.cli.printing import print_json
from trainrelay.config import schema
from trainrelay.records import AttemptRecord, Notice, TrainRecord


def run(arguments: argparse.Namespace) -> None:
    """Print the JSON schema of config.yaml, or of a file that other tools may read."""
    print_json(schema_of(arguments.of))


def schema_of(name: str) -> dict[str, Any]:
    """By the name that the command line takes."""
    records = {"train": TrainRecord, "attempt": AttemptRecord, "notice": Notice}
    if name in records:
        return records[name].model_json_schema(mode="serialization")
    return json_schema() if name == "analysis" else schema()
