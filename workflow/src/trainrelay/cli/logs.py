"""`trainrelay analyze` and `trainrelay explain`: logs judged, and what their numbers mean."""

from __future__ import annotations

import argparse
import gc
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
    ended,
    explain_words,
    logs_of,
    not_judged,
    read,
    series,
    to_json,
    with_own,
)
from trainrelay.analysis import analyze as judged
from trainrelay.cli.printing import print_json, print_markdown
from trainrelay.errors import LogError, UnknownLogError, UserError, VerdictRefused
from trainrelay.records import Analysis, Log
from trainrelay.report import analysis_markdown, compared_markdown, comparison_markdown, explanation_markdown
from trainrelay.system.say import say
from trainrelay.text import count

STANDARD_INPUT = Path("-")
_KEPT: list[TemporaryDirectory[str]] = []  # with what was read of it
# The ways to call `analyze`: with how many logs, and which options each takes.
_WAYS = {
    "--stage": ("--stage RUN/STAGE", range(1), "--json, --markdown, --fail-on"),
    "--follow": ("--follow LOG", range(1, 2), ""),
    "--compare": ("--compare A B", range(2, 3), "--json, --markdown, --html"),
    "": (
        "LOG... (or: trainrelay analyze --stage RUN/STAGE)",
        range(1, sys.maxsize),
        "--json, --markdown, --html, --series, --each, --fail-on",
    ),
}
_Judged = Sequence[tuple[str, Analysis]]


def analyze(arguments: argparse.Namespace) -> None:
    """Judge the logs that the command line names."""
    way = _way(arguments)
    if way == "--follow":
        from trainrelay.cli.follow import run  # noqa: PLC0415 - not for a log that has ended

        run(arguments.logs[0], _described(arguments, arguments.logs))
        return
    gc.disable()  # one answer, then it ends; looking for circles among the rows took a tenth of the time
    judge = {"--stage": _of_stage, "--compare": _compare, "": _of_logs}[way]
    found, plain, markdown = judge(arguments)
    if arguments.html:
        from trainrelay.operations.report import write_page  # noqa: PLC0415 - not for a log alone

        say(f"page: {write_page(arguments.html, found)}")
    if arguments.json:
        print_json(plain)
    elif arguments.markdown or not (arguments.html or arguments.stage):
        print_markdown(markdown, rendered=not arguments.markdown)
    _refuse(found, arguments.fail_on)


def _way(arguments: argparse.Namespace) -> str:
    """Which of the ways it is; UserError for what does not go together."""
    every = [*filter(None, _WAYS), *_WAYS[""][2].split(", ")]
    given = [word for word in every if getattr(arguments, word[2:].replace("-", "_"))]
    way = next((word for word in given if word in _WAYS), "")
    (usage, numbers, takes), logs = _WAYS[way], arguments.logs
    if wrong := [word for word in given if word not in (way, *takes.split(", "))]:
        what = f"cannot be combined with {', '.join(wrong)}; it takes {takes or 'no option'}"
        raise UserError(f"analyze {usage} {what}")
    if len(logs) not in numbers:
        raise UserError(f"got {count(len(logs), 'log')}; run: trainrelay analyze {usage}")
    if way == "--follow" and not logs[0].is_file():
        raise UserError("one log is followed, a file: run: trainrelay analyze --follow LOG")
    if arguments.series and not arguments.json:
        raise UserError("--series belongs to --json: run: trainrelay analyze LOG --json --series")
    return way


def _of_stage(arguments: argparse.Namespace) -> tuple[_Judged, object, str]:
    from trainrelay.cli.common import configured, named_stage  # noqa: PLC0415 - not for a log alone
    from trainrelay.operations.analyze import analyze_stage  # noqa: PLC0415

    analysis = analyze_stage(named_stage(configured(arguments), arguments.stage))
    say(f"{arguments.stage}: {analysis.verdict.kind}: {analysis.verdict.reason}")
    return [(arguments.stage, analysis)], to_json(analysis), analysis_markdown(arguments.stage, analysis)


def _of_logs(arguments: argparse.Namespace) -> tuple[_Judged, object, str]:
    logs, own, whole = arguments.logs, _described(arguments, arguments.logs), arguments.series
    if arguments.each or (len(logs) > 1 and any(log.is_dir() for log in logs)):
        found = [(str(log), _judged_or_not(log, whole, own)) for log in logs]
        plain = [to_json(analysis, curves=whole) for _, analysis in found]
        return found, plain, comparison_markdown(found)
    analysis = _judged(logs, whole, own)
    name = "standard input" if logs[-1] == STANDARD_INPUT else logs[-1].resolve().name
    return [(name, analysis)], to_json(analysis, curves=whole), analysis_markdown(name, analysis)


def _compare(arguments: argparse.Namespace) -> tuple[_Judged, object, str]:
    own, names = _described(arguments, arguments.logs), [str(log) for log in arguments.logs]
    tables = [_table([log], own) for log in _on_disk(arguments.logs)]
    parted, metrics = compare(*tables)
    rows = [{"metric": name, "final": final, "best": best} for name, (final, best) in metrics.items()]
    found = list(zip(names, map(judged, tables), strict=True)) if arguments.html else []
    return found, {"parted": parted, "metrics": rows}, compared_markdown(names, parted, metrics)


def _described(arguments: argparse.Namespace, logs: Sequence[Path]) -> DescribedLines | None:
    """From the config, if there is one: what is secret, what metrics mean (from here on), lines of yours."""
    if not arguments.configfile.exists():
        return None
    from trainrelay.cli.common import configured  # noqa: PLC0415 - not for a log alone
    from trainrelay.operations.analyze import described_lines  # noqa: PLC0415
    from trainrelay.preflight.knowledge import refuse_wrong_knowledge  # noqa: PLC0415

    own = config = None
    with suppress(UserError):
        config = configured(arguments)
        own = described_lines(config, logs)
    if config:
        refuse_wrong_knowledge(config)
    return own


def _on_disk(logs: Sequence[Path]) -> list[Path]:
    """The logs; standard input as a file that is kept until the end."""
    if STANDARD_INPUT not in logs:
        return list(logs)
    try:
        _KEPT.append(TemporaryDirectory())
        kept = Path(_KEPT[-1].name) / "standard input"
        with kept.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise UserError(f"standard input cannot be kept while it is read: {error}; pass a file") from None
    return [kept if log == STANDARD_INPUT else log for log in logs]


def _table(logs: Sequence[Path], own: DescribedLines | None, or_end: bool = False) -> Log:
    """Of the logs of one training; where no format is known no more than how it ended, if asked."""
    formats = with_own(own)
    files = [file for log in logs for file in logs_of(log, formats)]
    try:
        return read(files, formats=formats)
    except UnknownLogError:
        if or_end and (log := ended(files)):
            return log
        raise


def _judged(logs: Sequence[Path], whole: bool, own: DescribedLines | None) -> Analysis:
    """Of the logs of one training, with the `whole` curves if asked."""
    log = _table(_on_disk(logs), own, or_end=True)
    return replace(judged(log), curves=series(log)) if whole else judged(log)


def _judged_or_not(log: Path, whole: bool, own: DescribedLines | None) -> Analysis:
    try:
        return _judged([log], whole, own)
    except LogError as error:
        return not_judged([str(log)], str(error).removeprefix(f"{log}: ").partition("; ")[0])


def _refuse(found: _Judged, limit: str | None) -> None:
    """Raises VerdictRefused for the first verdict that is as bad as `limit`, or worse."""
    refused = {None: (), "failed": ("failed",), "warning": ("failed", "warning", "not judged")}[limit]
    for name, analysis in found:
        if analysis.verdict.kind in refused:
            raise VerdictRefused(f"{name}: {analysis.verdict.kind}: {analysis.verdict.reason}")


def explain(arguments: argparse.Namespace) -> None:
    """Explain logs, read as those of one training; or metrics, each by its name."""
    asked: list[str] = arguments.what
    # A file; or what can only be meant as one, so that the reader says that it is missing.
    logs = [name for name in asked if name == "-" or Path(name).exists() or Path(name).suffix in ENDINGS]
    paths = [Path(name) for name in logs]
    own = _described(arguments, paths)
    if logs and len(logs) < len(asked):
        word = next(name for name in asked if name not in logs)
        raise UserError(f"{word} is not a file, but {logs[0]} is one; give logs only, or metrics only")
    if not logs:
        print_markdown(explanation_markdown(", ".join(asked), explain_words(asked)))
        return
    try:
        found = judged(_table(_on_disk(paths), own)).explanation
    except LogError as error:  # with this verb in the advice, not with that of the analysis
        raise LogError(str(error).replace("trainrelay analyze LOG", "trainrelay explain LOG")) from error
    if found is None:
        raise UserError(
            f"{logs[-1]} has no training line yet, so there is nothing to explain;"
            " for a single metric, run: trainrelay explain METRIC"
        )
    print_markdown(explanation_markdown(Path(logs[-1]).name, found))
