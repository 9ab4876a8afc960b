"""`trainrelay probe`."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Iterator, Sequence

from trainrelay.cli.common import stage_of
from trainrelay.cli.printing import print_json
from trainrelay.operations.probe import first_working, probe_rungs, rungs_to_probe, would_use
from trainrelay.records import ProbeResult
from trainrelay.system.say import answer


def run(arguments: argparse.Namespace) -> None:
    """Print what each rung does here, and which one the stage would use; UserError where none works."""
    at = stage_of(arguments)
    results = probe_rungs(at, rungs_to_probe(at, arguments.rung))
    if arguments.json:
        found = [result.model_dump(mode="json") for result in results]
        host, works = socket.gethostname(), first_working(results)
        print_json({"stage": at.name, "host": host, "works": works, "results": found})
    else:
        answer("\n".join(_table(results)))
    said = would_use(at, results)
    if not arguments.json:
        answer(said)


def _table(results: Sequence[ProbeResult]) -> Iterator[str]:
    sizes = sorted({size for result in results for size in result.gb_per_s})
    head = ["backend", "result", *(f"GB/s at {size} MB" for size in sizes), "error"]
    rows = [head, *(_row(result, sizes) for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(result: ProbeResult, sizes: Sequence[int]) -> list[str]:
    speeds = [f"{result.gb_per_s[size]:.3g}" if size in result.gb_per_s else "-" for size in sizes]
    return [result.rung, result.outcome, *speeds, result.error or ""]
