"""The trainer kinds by name: those built in, and those that installed packages bring as entry points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from trainrelay.text import did_you_mean, quoted
from trainrelay.trainers.base import Trainer
from trainrelay.trainers.metriclogger import MetricLogger
from trainrelay.trainers.mmcv import Mmcv
from trainrelay.trainers.mmengine import Mmengine
from trainrelay.trainers.script import Script

TRAINERS: Mapping[str, Trainer] = {
    trainer.kind: trainer for trainer in (Mmcv(), Mmengine(), MetricLogger(), Script())
}
_GROUP = "trainrelay.trainers"


def trainer_of(kind: str) -> Trainer:
    """The trainer of a kind; ValueError, in a sentence, if there is none or its package is broken."""
    return TRAINERS.get(kind) or _installed(kind)


@lru_cache  # an installed package is searched for once
def _installed(kind: str) -> Trainer:
    points = entry_points(group=_GROUP)
    named = {_package(point): point for point in points if point.name == kind}
    if not named:
        known = [*TRAINERS, *sorted(points.names - TRAINERS.keys())]
        raise ValueError(f"allowed: {', '.join(known)}{did_you_mean(kind, known)}")
    if len(named) > 1:
        raise ValueError(f"several packages have it: {', '.join(sorted(named))}; uninstall all but one")
    return _loaded(*next(iter(named.items())))


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module


def _loaded(package: str, point: EntryPoint) -> Trainer:
    """What an entry point names, made; whatever goes wrong in its package is one sentence."""
    try:
        made = point.load()()
        problem = _why_none(made, point.name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  it is code of others
        problem = f"{type(error).__name__}: {error}"
    if problem:
        raise ValueError(
            f"the package {package}, which has it as {point.value}, is broken: {quoted(problem)};"
            " update or uninstall it"
        )
    trainer: Trainer = made
    return trainer


def _why_none(made: object, kind: str) -> str | None:
    if Trainer not in type(made).__mro__:
        return "that is no class derived from trainrelay.trainers.Trainer"
    if getattr(made, "kind", None) != kind:
        return f"its class has kind = {getattr(made, 'kind', None)!r}"
    return None if isinstance(getattr(made, "looked_for", None), str) else "its class has no looked_for"
