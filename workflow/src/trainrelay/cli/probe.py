"""`trainrelay probe`."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Iterator, Sequence

import orjson

from trainrelay.cli.common import configured, named_stage
from trainrelay.operations.probe import first_working, probe_rungs, rungs_asked, would_use
from trainrelay.records import ProbeResult


def run(arguments: argparse.Namespace) -> None:
    """Print what each rung does here, and which one the stage would use; UserError where none works."""
    at = named_stage(configured(arguments), arguments.where)
    results = probe_rungs(at, rungs_asked(at, arguments.rung))
    print(_json(arguments.where, results) if arguments.json else "\n".join(_table(results)))
    said = would_use(at, results)
    if not arguments.json:
        print(said)


def _json(where: str, results: Sequence[ProbeResult]) -> str:
    found = {
        "stage": where,
        "host": socket.gethostname(),
        "works": first_working(results),
        "results": [result.model_dump(mode="json") for result in results],
    }
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


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
