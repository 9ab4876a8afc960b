"""`trainrelay analyze` and `trainrelay explain`: logs judged, and what their numbers mean."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from trainrelay.analysis import (
    ENDINGS,
    DescribedLines,
    compare,
    explain_words,
    logs_of,
    not_judged,
    read,
    series,
    to_json,
)
from trainrelay.analysis import analyze as judged
from trainrelay.cli.printing import print_json, print_markdown
from trainrelay.errors import LogError, UnknownLogError, UserError, VerdictRefused
from trainrelay.records import Analysis, Log
from trainrelay.report import analysis_markdown, compared_markdown, comparison_markdown, explanation_markdown
from trainrelay.system.say import say

STANDARD_INPUT = Path("-")


def analyze(arguments: argparse.Namespace) -> None:
    """Judge the logs that the command line names."""
    if bool(arguments.logs) == bool(arguments.stage):
        raise UserError("run: trainrelay analyze LOG... (or: trainrelay analyze --stage RUN/STAGE)")
    if arguments.stage:
        from trainrelay.cli.common import configured, named_stage  # noqa: PLC0415 - not for a log alone
        from trainrelay.operations.analyze import analyze_stage  # noqa: PLC0415

        analysis = analyze_stage(named_stage(configured(arguments), arguments.stage))
        say(f"{arguments.stage}: {analysis.verdict.kind}: {analysis.verdict.reason}")
        _refuse([(arguments.stage, analysis)], arguments.fail_on)
        return
    if arguments.series and not arguments.json:
        raise UserError("--series belongs to --json: run: trainrelay analyze LOG --json --series")
    own = _described(arguments, arguments.logs)
    logs: list[Path] = arguments.logs
    if arguments.follow or arguments.compare:
        _follow(arguments) if arguments.follow else _compare(arguments, own)
        return
    if arguments.each or (len(logs) > 1 and any(log.is_dir() for log in logs)):
        found = [(str(log), _judged_or_not(log, arguments.series, own)) for log in logs]
        shown: object = [to_json(analysis, curves=arguments.series) for _, analysis in found]
        markdown = comparison_markdown(found)
    else:
        analysis = _judged(logs, arguments.series, own)
        found = [("standard input" if logs[-1] == STANDARD_INPUT else logs[-1].resolve().name, analysis)]
        shown, markdown = to_json(analysis, curves=arguments.series), analysis_markdown(*found[0])
    if arguments.html:
        from trainrelay.operations.report import write_page  # noqa: PLC0415 - not for a log alone

        say(f"page: {write_page(arguments.html, found)}")
    if arguments.json or not arguments.html:
        _show(arguments, shown, markdown)
    _refuse(found, arguments.fail_on)


def _described(arguments: argparse.Namespace, logs: Sequence[Path]) -> DescribedLines | None:
    """From the config, if there is one: what is secret, what metrics mean (from here on), lines of yours."""
    if not arguments.configfile.exists():
        return None
    from trainrelay.cli.common import configured  # noqa: PLC0415 - not for a log alone
    from trainrelay.operations.analyze import described_lines, use_knowledge  # noqa: PLC0415

    own = config = None
    with suppress(UserError):
        config = configured(arguments)
        own = described_lines(config, logs)
    if config:
        use_knowledge(config)
    return own


def _follow(arguments: argparse.Namespace) -> None:
    if len(arguments.logs) != 1 or not arguments.logs[0].is_file():
        raise UserError("one log is followed, a file: run: trainrelay analyze --follow LOG")
    from trainrelay.cli.follow import run  # noqa: PLC0415 - not for a log that has ended

    run(arguments.logs[0])


def _compare(arguments: argparse.Namespace, own: DescribedLines | None) -> None:
    if len(arguments.logs) != 2:
        raise UserError("give two logs or folders: trainrelay analyze --compare A B")
    parted, metrics = compare(*(_table([log], own) for log in arguments.logs))
    rows = [{"metric": name, "final": final, "best": best} for name, (final, best) in metrics.items()]
    markdown = compared_markdown(map(str, arguments.logs), parted, metrics)
    _show(arguments, {"parted": parted, "metrics": rows}, markdown)


def _table(logs: Sequence[Path], own: DescribedLines | None) -> Log:
    """Of the logs of one training, by the lines that the config describes where no format is known."""
    files = [file for log in logs for file in logs_of(log)]
    try:
        return read(files)
    except UnknownLogError:
        if own is None:
            raise
        return read(files, own=own)


def _judged(logs: Sequence[Path], whole: bool, own: DescribedLines | None) -> Analysis:
    """Of the logs of one training, with the `whole` curves if asked; `-` is standard input, which is kept
    while it is read."""
    if STANDARD_INPUT not in logs:
        log = _table(logs, own)
        return replace(judged(log), curves=series(log)) if whole else judged(log)
    try:
        with TemporaryDirectory() as folder:
            kept = Path(folder) / "standard input"
            with kept.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            return _judged([kept if log == STANDARD_INPUT else log for log in logs], whole, own)
    except OSError as error:
        raise UserError(f"standard input cannot be kept while it is read: {error}; pass a file") from None


def _judged_or_not(log: Path, whole: bool, own: DescribedLines | None) -> Analysis:
    try:
        return _judged([log], whole, own)
    except LogError as error:
        return not_judged([str(log)], str(error).removeprefix(f"{log}: ").partition("; ")[0])


def _show(arguments: argparse.Namespace, plain: object, markdown: str) -> None:
    if arguments.json:
        print_json(plain)
    else:
        print_markdown(markdown, rendered=not arguments.markdown)


def _refuse(found: Sequence[tuple[str, Analysis]], limit: str | None) -> None:
    """Raises VerdictRefused for the first verdict that is as bad as `limit`, or worse."""
    refused = {None: (), "failed": ("failed",), "warning": ("failed", "warning", "not judged")}[limit]
    for name, analysis in found:
        if analysis.verdict.kind in refused:
            raise VerdictRefused(f"{name}: {analysis.verdict.kind}: {analysis.verdict.reason}")


def explain(arguments: argparse.Namespace) -> None:
    """Explain logs, read as those of one training; or metrics, each by its name."""
    asked: list[str] = arguments.what
    _described(arguments, [])
    # A file; or what can only be meant as one, so that the reader says that it is missing.
    logs = [name for name in asked if Path(name).exists() or Path(name).suffix in ENDINGS]
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
