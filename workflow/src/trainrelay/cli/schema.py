"""`trainrelay schema`."""

from __future__ import annotations

import argparse

from trainrelay.cli.printing import print_json
from trainrelay.config import schema


def run(_: argparse.Namespace) -> None:
    """Print the JSON schema of config.yaml."""
    print_json(schema())
