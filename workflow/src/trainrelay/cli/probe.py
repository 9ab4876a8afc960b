"""`trainrelay probe`: every rung of a stage's ladder, tried on this machine."""

from __future__ import annotations

import argparse
import difflib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from trainrelay.cli.common import configured, named_stage
from trainrelay.cli.say import say
from trainrelay.command import RUNGS, Rung, TrainerConfig
from trainrelay.config import Config, stage_paths
from trainrelay.errors import UserError
from trainrelay.records import ProbeResult
from trainrelay.request import ladder, launch_request, rung
from trainrelay.supervise import nodes_missing, probe_rung, stop_requests


def run(arguments: argparse.Namespace) -> None:
    """Print what each rung does here, and which one the stage would use; UserError where none works."""
    config = configured(arguments)
    where = named_stage(config, arguments.where)
    results = _probed(config, *where, _asked(config, *where, arguments.rung))
    print(_json(arguments.where, results) if arguments.json else "\n".join(_table(results)))
    said = _use(config, *where, results)
    if not arguments.json:
        print(said)


def _asked(config: Config, run_name: str, stage: str, name: str | None) -> tuple[Rung, ...]:
    if name is None:
        return ladder(config, config.stage(run_name, stage))
    known = [*RUNGS, *config.rungs]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"--rung {name}: no such rung; type one of: {', '.join(known)}{meant}")
    return (rung(config, name),)


def _probed(config: Config, run_name: str, stage: str, rungs: Sequence[Rung]) -> list[ProbeResult]:
    request = launch_request(config, run_name, stage, TrainerConfig(), None)
    if nodes := nodes_missing(request.nodes, os.environ):
        raise UserError(f"{run_name}/{stage}: {nodes}")
    deadline_s = config.stage(run_name, stage).probe_timeout_s
    results, ranks = [], request.nproc_per_node * request.nodes
    with stop_requests() as stop:
        for one in rungs:
            say(f"probing {one.name} with {ranks} ranks; {deadline_s:g} s at most")
            log = _logs(config, run_name, stage) / f"{one.name}.log"
            found = probe_rung(request, one, log, deadline_s=deadline_s, stopped=lambda: stop.wanted)
            results.append(found)
    return results


def _logs(config: Config, run_name: str, stage: str) -> Path:
    return stage_paths(config, run_name, stage).folder / "probe"


def _works(results: Sequence[ProbeResult]) -> str | None:
    return next((result.rung for result in results if result.outcome == "works"), None)


def _use(config: Config, run_name: str, stage: str, results: Sequence[ProbeResult]) -> str:
    """What the stage would use, in a sentence; UserError where nothing works."""
    settings, works, host = config.stage(run_name, stage), _works(results), socket.gethostname()
    if works is None:
        tried = ", ".join(f"{result.rung} {result.outcome}" for result in results)
        raise UserError(
            f"{run_name}/{stage} cannot train on {host}: {tried}; read the logs in"
            f" {_logs(config, run_name, stage)}, then set `backends` in the config to what works"
        )
    if works not in settings.backends:
        return f"{works} works on {host}; add it to `backends` of {run_name}/{stage} to have it used"
    if not settings.probe:
        return f"{run_name}/{stage} uses {settings.backends[0]} all the same: its `probe` is off"
    return f"{run_name}/{stage} would use {works} on {host}"


def _json(where: str, results: Sequence[ProbeResult]) -> str:
    found = {
        "stage": where,
        "host": socket.gethostname(),
        "works": _works(results),
        "results": [result.model_dump(mode="json") for result in results],
    }
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


def _table(results: Sequence[ProbeResult]) -> Iterator[str]:
    sizes = sorted({size for result in results for size in result.gb_per_s})
    head = ["rung", "result", *(f"GB/s at {size} MB" for size in sizes), "error"]
    rows = [head, *(_row(result, sizes) for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(result: ProbeResult, sizes: Sequence[int]) -> list[str]:
    speeds = [f"{result.gb_per_s[size]:.3g}" if size in result.gb_per_s else "-" for size in sizes]
    return [result.rung, result.outcome, *speeds, result.error or ""]
