"""Nodes on which a run's trainings failed twice for a reason of the node's: its next jobs do without them.

Several nodes of one job are one here, as Slurm writes them (gpu[03-04]): nothing tells which of them failed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from trainrelay.config import Site, load_site, stage_paths
from trainrelay.errors import Interrupted, SlurmError, UserError
from trainrelay.records import AttemptRecord
from trainrelay.slurm import EXCLUDE_VARIABLE, own_run, sbatch_flags
from trainrelay.slurm.ask import could_start, installed
from trainrelay.slurm.flags import request_of
from trainrelay.system.files import read_once, write_bytes
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext
from trainrelay.training.request import cores

_MOST_S = 1e9  # what is later was read from a damaged record


def bad_nodes(attempts: Iterable[AttemptRecord], now_s: float, avoid_h: float) -> dict[str, str]:
    """By the attempts of a run, each with a sentence; forgotten `avoid_h` after the last failure (pure)."""
    known = [(one.slurm.nodes, one) for one in attempts if one.slurm]
    failures: dict[str, list[tuple[float, str]]] = {}
    for nodes, attempt in known:
        works = {p.rung for name, one in known if name != nodes for p in one.probes if p.outcome == "works"}
        # Only where the same probe works elsewhere: a network may hang on every node.
        hung = [p.rung for p in attempt.probes if p.outcome == "hangs" and p.rung in works]
        if why := attempt.reason if attempt.end == "node" else hung and f"the probe of {hung[0]} hangs there":
            failures.setdefault(nodes, []).append((attempt.ended_s or attempt.started_s, why))
    twice = sorted((nodes, *max(found)) for nodes, found in failures.items() if len(found) > 1)
    until = [(nodes, at_s + avoid_h * 3600, why) for nodes, at_s, why in twice]
    return {
        nodes: _sentence(nodes, until_s, why)
        for nodes, until_s, why in until
        if now_s < until_s < now_s + _MOST_S
    }


def _sentence(nodes: str, until_s: float, why: str) -> str:
    until = datetime.fromtimestamp(until_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{nodes} is avoided until {until}: this run failed there twice ({why})"


def of_run(at: StageContext) -> dict[str, str]:
    """By the attempts of every stage of a run; a damaged record or site.yaml is reported where it is used."""
    attempts, site = list[AttemptRecord](), Site()
    with suppress(UserError):
        site = read_once(load_site)
    for stage in at.config.in_order(at.run):
        with suppress(UserError):
            attempts += read_once(list_attempts, stage_paths(at.config, at.run, stage).folder)
    return bad_nodes(attempts, time.time(), site.nodes_avoid_h)


def to_exclude(at: StageContext, site: Site) -> tuple[Sequence[str], Sequence[str]]:
    """What a stage's next job excludes, nothing if it could not start then; a sentence on each bad node."""
    bad = of_run(at)
    try:
        if bad and installed():
            request = request_of(at.settings.resources, site.without(list(bad)), cores(at))
            read_once(could_start, sbatch_flags(request))
    except SlurmError as error:
        why = f"; it is not excluded, since no job could then start ({error})"
        return [], [f"{sentence}{why}" for sentence in bad.values()]
    return list(bad), list(bad.values())


def leave(at: StageContext) -> None:
    """Interrupted where this job is on such a node, and asks its executor for a run elsewhere."""
    if request := os.environ.get(EXCLUDE_VARIABLE):
        names, sentences = to_exclude(at, load_site())
        if own_run(os.environ).nodes in names:
            write_bytes(Path(request), ",".join(names).encode())
            raise Interrupted(f"{at.name}: its job is to leave its node: {'; '.join(sentences)}")
