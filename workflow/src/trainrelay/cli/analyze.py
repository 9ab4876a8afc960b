"""`trainrelay analyze`."""

from __future__ import annotations

import argparse
from contextlib import suppress

from trainrelay.analysis import analyze, read, to_json
from trainrelay.cli.common import configured, named_stage
from trainrelay.cli.printing import print_json, print_markdown
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
        with suppress(UserError):  # from its config, if there is one, it is known what are secrets
            configured(arguments)
        analysis = analyze(read(arguments.logs))
        if arguments.json:
            print_json(to_json(analysis))
        else:
            print_markdown(analysis_markdown(arguments.logs[-1].name, analysis))
