"""`trainrelay explain`: what the numbers of a log mean, or what single metrics mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from trainrelay.analysis import analyze, explain_words, read
from trainrelay.cli.printing import print_markdown
from trainrelay.errors import LogError, UserError
from trainrelay.records import Log
from trainrelay.report import explanation_markdown

FILE_LIKE = (".log", ".txt", ".json", ".out")  # what logs are called


def run(arguments: argparse.Namespace) -> None:
    """Explain logs, read as those of one training; or metrics, each by its name."""
    asked: list[str] = arguments.what
    logs = [name for name in asked if _is_log(name)]
    if logs and len(logs) < len(asked):
        word = next(name for name in asked if name not in logs)
        raise UserError(f"{word} is not a file, but {logs[0]} is one; give logs only, or metrics only")
    print_markdown(_logs([Path(name) for name in logs]) if logs else _words(asked))


def _is_log(name: str) -> bool:
    """A file; or what can only be meant as one, so that the reader says that it is missing."""
    return Path(name).exists() or name.endswith(FILE_LIKE)


def _logs(paths: Sequence[Path]) -> str:
    found = analyze(_read(paths)).explanation
    if found is None:
        raise UserError(
            f"{paths[-1]} has no training line yet, so there is nothing to explain; for a single metric,"
            " run: trainrelay explain METRIC"
        )
    return explanation_markdown(paths[-1].name, found)


def _read(paths: Sequence[Path]) -> Log:
    """What cannot be read is refused with this verb in the advice, not with that of the analysis."""
    try:
        return read(paths)
    except LogError as error:
        raise LogError(str(error).replace("trainrelay analyze LOG", "trainrelay explain LOG")) from error


def _words(words: Sequence[str]) -> str:
    return explanation_markdown(", ".join(words), explain_words(words))
