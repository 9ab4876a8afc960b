"""`trainrelay probe`: every rung of a stage's ladder, tried on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from trainrelay.errors import UserError
from trainrelay.records import ProbeResult
from trainrelay.supervise import nodes_missing, probe_rung, stop_requests
from trainrelay.system.say import say
from trainrelay.text import did_you_mean
from trainrelay.trainers import RUNGS, Rung
from trainrelay.training.context import StageContext
from trainrelay.training.request import ladder, launch_request, rung


def rungs_to_probe(at: StageContext, name: str | None) -> tuple[Rung, ...]:
    if name is None:
        return ladder(at)
    known = [*RUNGS, *at.config.rungs]
    if name not in known:
        near = did_you_mean(name, known)
        raise UserError(f"--rung {name}: no such backend; use one of: {', '.join(known)}{near}")
    return (rung(at.config, name),)


def probe_rungs(at: StageContext, rungs: Sequence[Rung]) -> list[ProbeResult]:
    request = launch_request(at)
    if nodes := nodes_missing(request.nodes, os.environ):
        raise UserError(f"{at.name}: {nodes}")
    deadline_s = at.settings.probe_timeout_s
    results, ranks = [], request.nproc_per_node * request.nodes
    with stop_requests() as stop:
        for one in rungs:
            say(f"probing {one.name} with {ranks} ranks; {deadline_s:g} s at most")
            log = at.paths.folder / f"probe/{one.name}.log"
            results.append(
                probe_rung(request, one, log, deadline_s=deadline_s, stopped=lambda: stop.requested)
            )
    return results


def first_working(results: Sequence[ProbeResult]) -> str | None:
    return next((result.rung for result in results if result.outcome == "works"), None)


def would_use(at: StageContext, results: Sequence[ProbeResult]) -> str:
    """What the stage would use, in a sentence; UserError where nothing works."""
    settings, works, host = at.settings, first_working(results), socket.gethostname()
    if works is None:
        tried = ", ".join(f"{result.rung} {result.outcome}" for result in results)
        raise UserError(
            f"{at.name} cannot train on {host}: {tried}; read the logs in"
            f" {at.paths.folder / 'probe'}, then set `backends` in the config to what works"
        )
    if works not in settings.backends:
        return f"{works} works on {host}; add it to `backends` of {at.name} to have it used"
    if not settings.probe:
        return f"{at.name} uses {settings.backends[0]} anyway: its `probe` is off"
    return f"{at.name} would use {works} on {host}"
