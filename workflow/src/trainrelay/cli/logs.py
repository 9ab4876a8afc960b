"""`trainrelay analyze` and `trainrelay explain`: logs judged, and what their numbers mean."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from trainrelay.analysis import analyze as judged
from trainrelay.analysis import explain_words, read, to_json
from trainrelay.cli.common import configured, named_stage
from trainrelay.cli.printing import print_json, print_markdown
from trainrelay.errors import LogError, UserError
from trainrelay.operations.analyze import analyze_stage
from trainrelay.report import analysis_markdown, explanation_markdown
from trainrelay.system.say import say

FILE_LIKE = (".log", ".txt", ".json", ".out")  # what logs are called


def analyze(arguments: argparse.Namespace) -> None:
    """Judge the logs that the command line names."""
    if bool(arguments.logs) == bool(arguments.stage):
        raise UserError("run: trainrelay analyze LOG... (or: trainrelay analyze --stage RUN/STAGE)")
    if arguments.stage:
        analysis = analyze_stage(named_stage(configured(arguments), arguments.stage))
        say(f"{arguments.stage}: {analysis.verdict.kind}: {analysis.verdict.reason}")
    else:
        with suppress(UserError):  # from its config, if there is one, it is known what are secrets
            configured(arguments)
        analysis = judged(read(arguments.logs))
        if arguments.json:
            print_json(to_json(analysis))
        else:
            print_markdown(analysis_markdown(arguments.logs[-1].name, analysis))


def explain(arguments: argparse.Namespace) -> None:
    """Explain logs, read as those of one training; or metrics, each by its name."""
    asked: list[str] = arguments.what
    # A file; or what can only be meant as one, so that the reader says that it is missing.
    logs = [name for name in asked if Path(name).exists() or name.endswith(FILE_LIKE)]
    if logs and len(logs) < len(asked):
        word = next(name for name in asked if name not in logs)
        raise UserError(f"{word} is not a file, but {logs[0]} is one; give logs only, or metrics only")
    if not logs:
        print_markdown(explanation_markdown(", ".join(asked), explain_words(asked)))
        return
    try:
        found = judged(read([Path(name) for name in logs])).explanation
    except LogError as error:  # with this verb in the advice, not with that of the analysis
        raise LogError(str(error).replace("trainrelay analyze LOG", "trainrelay explain LOG")) from error
    if found is None:
        raise UserError(
            f"{logs[-1]} has no training line yet, so there is nothing to explain; for a single metric,"
            " run: trainrelay explain METRIC"
        )
    print_markdown(explanation_markdown(Path(logs[-1]).name, found))
