"""`trainrelay report`, `overview` and `export`: the page of one run, that of all, and a run's numbers."""

from __future__ import annotations

import argparse
import csv
import sys

import orjson

from trainrelay.cli.common import configured, named_stages
from trainrelay.operations.analyze import merged_series
from trainrelay.operations.report import write_overview, write_report, write_reports
from trainrelay.system.say import answer, say
from trainrelay.text import printable


def run(arguments: argparse.Namespace) -> None:
    """Write the report of one run; without a name, every run's report and the overview."""
    config = configured(arguments)
    if arguments.run is None:
        write_reports(config, *config.runs)
    else:
        say(f"report: {write_report(config, named_stages(config, [arguments.run])[0].run)}")


def export(arguments: argparse.Namespace) -> None:
    """Print all that the stages of a run logged."""
    rows = list(merged_series(named_stages(configured(arguments), [arguments.which])))
    shown = {key: printable(key) for row in rows for key in row}
    if arguments.jsonl:
        for row in rows:
            answer(orjson.dumps({shown[key]: value for key, value in row.items()}).decode())
    else:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(shown.values())
        table.writerows([row.get(key) for key in shown] for row in rows)


def overview(arguments: argparse.Namespace) -> None:
    """Write the overview."""
    say(f"overview: {write_overview(configured(arguments))}")
