"""`trainrelay schema`."""

from __future__ import annotations

import argparse
import json

from trainrelay.config import schema


def run(_: argparse.Namespace) -> None:
    """Print the JSON schema of config.yaml."""
    print(json.dumps(schema(), indent=2))
