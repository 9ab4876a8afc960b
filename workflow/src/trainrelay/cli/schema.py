"""`trainrelay schema`."""

from __future__ import annotations

import argparse

from trainrelay.analysis import json_schema
from trainrelay.cli.printing import print_json
from trainrelay.config import schema
from trainrelay.records import AttemptRecord, Notice, TrainRecord

SCHEMAS = {
    "config": schema,
    "train": TrainRecord.model_json_schema,
    "attempt": AttemptRecord.model_json_schema,
    "analysis": json_schema,
    "notice": Notice.model_json_schema,
}


def run(arguments: argparse.Namespace) -> None:
    """Print the JSON schema of config.yaml, or of what other tools may read."""
    print_json(SCHEMAS[arguments.of]())
