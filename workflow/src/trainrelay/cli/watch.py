"""`trainrelay watch`: every stage, live on a terminal, once as plain text elsewhere, once as JSON."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainrelay.cli.common import configured, named_stages
from trainrelay.cli.printing import print_json
from trainrelay.errors import TrainrelayError
from trainrelay.slurm import QueueRow
from trainrelay.slurm.queue import CONTROLLER, Queue, job_name, why
from trainrelay.system.hints import with_configfile
from trainrelay.system.say import answer, say
from trainrelay.text import printable
from trainrelay.watching import Column, StageRow, StageWatch, fitting_columns, remarks, with_queued_job

_EVERY_S = 2.0  # of the 10 s between two beats of an owner: a slower observer would sleep through its silence
_STYLES = {
    "running": "green",
    "supervised": "green",
    "complete": "cyan",
    "stopped": "bold red",
    "refused": "red",
    "unreadable": "bold red",
    "foreign": "red",
    "changed": "yellow",
    "queued": "blue",
    "silent": "bold yellow",
    "suspended": "bold yellow",
    "running?": "yellow",
    "orphaned": "bold yellow",
}


def run(arguments: argparse.Namespace) -> None:
    """Show the stages until Ctrl-C, or once if the output is no terminal."""
    watched, queue, console = _Watched(arguments), Queue(), Console()

    def look() -> list[StageRow]:
        return _look(watched.stages(), queue)

    if arguments.json:
        print_json({"stages": [row.as_json() for row in look()]})
    elif console.is_terminal:
        _live(look, console)
    else:
        _once(look())


class _Watched:
    """The stages of the config as it is now; while it cannot be read, of the one before."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments, self._stages, self._read_ns = arguments, list[StageWatch](), -1

    def stages(self) -> list[StageWatch]:
        """Others once the config has been changed."""
        path = self._arguments.configfile
        changed_ns = path.stat().st_mtime_ns if path.is_file() else 0
        if changed_ns != self._read_ns:
            try:
                named = named_stages(configured(self._arguments), self._arguments.which)
                self._stages, self._read_ns = [StageWatch(at) for at in named], changed_ns
            except TrainrelayError:
                if not self._stages:
                    raise
        return self._stages


def _look(stages: Sequence[StageWatch], queue: Queue) -> list[StageRow]:
    """The stages at this moment, and whether their jobs of this folder wait in the queue."""
    folder = os.path.realpath(Path.cwd())
    jobs = {job.name: job for job in queue.waiting() if os.path.realpath(job.workdir) == folder}
    one_run = len(stages[0].at.config.runs) == 1
    # The controller's job; or that of a whole chain, whose name does not say of which run it is.
    shared = [job for name, job in jobs.items() if name == CONTROLLER or (one_run and "_promote_" in name)]
    return [_with_job(stage.look(), jobs, shared) for stage in stages]


def _with_job(row: StageRow, jobs: Mapping[str, QueueRow], shared: Sequence[QueueRow]) -> StageRow:
    row = replace(row, reason=with_configfile(row.reason, say.configfile))
    job = next(filter(None, [jobs.get(job_name(row.run, row.stage)), *shared]), None)
    return with_queued_job(row, job.job_id, why(job)) if job else row


def _once(rows: Sequence[StageRow]) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a locale may have no blocks and arrows
    columns = fitting_columns(rows, None)
    for cells in zip(*((column.title, *column.cells) for column in columns), strict=True):
        padded = (
            text.rjust(column.width) if column.right else text.ljust(column.width)
            for column, text in zip(columns, cells, strict=True)
        )
        answer("  ".join(padded).rstrip())
    for remark in remarks(rows):
        answer(remark)


def _live(look: Callable[[], list[StageRow]], console: Console) -> None:
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(_view(look(), console.width), refresh=True)
                time.sleep(_EVERY_S)
    except KeyboardInterrupt:
        pass


def _view(rows: Sequence[StageRow], width_chars: int) -> Group:
    """The table and the remarks, no line wider than the terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns = fitting_columns(rows, width_chars)
    for column in columns:
        table.add_column(
            column.title, justify="right" if column.right else "left", no_wrap=True, overflow="ellipsis"
        )
    for place, row in enumerate(rows):
        table.add_row(*(_cell(column, place, row) for column in columns))
    clock = f"{time.strftime('%H:%M:%S')}  Ctrl-C ends this view, nothing else"
    lines = map(printable, (*remarks(rows), clock))
    said = [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in lines]
    return Group(table, *said)


def _cell(column: Column, place: int, row: StageRow) -> Text:
    style = _STYLES.get(row.state, "") if column.title == "state" else ""
    if column.title == "backend" and row.backend_is_fallback_from:
        style = "yellow"
    return Text(printable(column.cells[place]), style=style)
