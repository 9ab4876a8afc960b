"""`trainrelay analyze`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import orjson

from trainrelay.analysis import analyze, read, to_json
from trainrelay.cli.common import configured, named_stage
from trainrelay.cli.markdown import show
from trainrelay.errors import UserError
from trainrelay.operations.analyze import analyze_stage
from trainrelay.report import analysis_markdown
from trainrelay.system.say import say


def run(arguments: argparse.Namespace) -> None:
    """Judge the logs that the command line names."""
    if bool(arguments.logs) == bool(arguments.stage):
        raise UserError("run: trainrelay analyze LOG... (or: trainrelay analyze --stage RUN/STAGE)")
    if arguments.stage:
        analysis = analyze_stage(named_stage(configured(arguments), arguments.stage))
        say(f"{arguments.stage}: {analysis.verdict.kind}: {analysis.verdict.reason}")
    else:
        _print(arguments.logs, as_json=arguments.json)


def _print(logs: Sequence[Path], *, as_json: bool) -> None:
    analysis = analyze(read(logs))
    if as_json:
        print(orjson.dumps(to_json(analysis), option=orjson.OPT_INDENT_2).decode())
    else:
        show(analysis_markdown(logs[-1].name, analysis))
