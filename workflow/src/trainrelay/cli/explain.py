"""`trainrelay explain`: what the numbers of a log mean, or what single metrics mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainrelay.analysis import analyze, explain_words, read
from trainrelay.cli.printing import print_markdown
from trainrelay.errors import LogError, UserError
from trainrelay.report import explanation_markdown

FILE_LIKE = (".log", ".txt", ".json", ".out")  # what logs are called


def run(arguments: argparse.Namespace) -> None:
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
        found = analyze(read([Path(name) for name in logs])).explanation
    except LogError as error:  # with this verb in the advice, not with that of the analysis
        raise LogError(str(error).replace("trainrelay analyze LOG", "trainrelay explain LOG")) from error
    if found is None:
        raise UserError(
            f"{logs[-1]} has no training line yet, so there is nothing to explain; for a single metric,"
            " run: trainrelay explain METRIC"
        )
    print_markdown(explanation_markdown(Path(logs[-1]).name, found))
