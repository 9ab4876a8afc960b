"""The training's identity: the ingredients of everything that changes its weights, flat and readable.

Two trainings with equal ingredients and an equal initial checkpoint would give the same model; anything
else (backend, workers, logging, resources, paths) may change without training again. `epochs` is kept
apart: raising it continues from the last checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from trainrelay.training.context import StageContext

EXACT = "exact"  # there only where on: a training that began without continues without
# The ingredient that stands for a trainer config that could not be read (checkout not on this machine).
UNREADABLE = "trainer config not readable"
_FROM = "init_from"
_FROM_UNREADABLE = "a training whose config is not readable"


@dataclass(frozen=True, slots=True)
class Difference:
    """One ingredient before and now; None where it is absent."""

    key: str
    before: str | None
    now: str | None

    def __str__(self) -> str:
        return f"{self.key}: {self.before or '(absent)'} -> {self.now or '(absent)'}"


def ingredients(at: StageContext) -> dict[str, str]:
    """The readable ingredients of one stage; the earlier stage's as their digest."""
    settings, trainer, config = at.settings, at.trainer, at.trainer_file
    effective = trainer.effective_settings(config, settings.options)
    seed = trainer.default_seed(config) if settings.seed is None else settings.seed
    parts = {
        "trainer kind": trainer.kind,
        "world size": str(at.trainer_settings.nproc_per_node * settings.resources.nodes),
        "seed": "the trainer's default" if seed is None else str(seed),
        "deterministic": str(settings.deterministic),
    }
    parts |= {EXACT: "True"} if settings.exact else {}
    parts |= {} if settings.unit == "epoch" else {"counts": "iterations"}
    parts |= {
        key: text for key, text in effective.items() if trainer.changes_weights(key.removeprefix("option "))
    }
    if config.problem:
        parts[UNREADABLE] = config.problem
    if at.parent is None:
        return parts
    before, parent = without_exact(ingredients(at.parent)), at.parent.settings
    if UNREADABLE in before or before.get(_FROM) == _FROM_UNREADABLE:
        return {**parts, _FROM: _FROM_UNREADABLE}
    # What is promoted, not how many follow it; not the stage's name either. That more epochs have another
    # best, its checkpoint's sha256 tells.
    count = 0 if parent.best else parent.promoted_count
    what = parent.best or f"{parent.unit} {count}"
    return {**parts, _FROM: f"{what} of the training {signature(before, count)[:12]}"}


def without_exact(parts: Mapping[str, str]) -> dict[str, str]:
    """The same of a training that began without it."""
    return {key: value for key, value in parts.items() if key != EXACT}


def comparable(parts: Mapping[str, str], with_parts: Mapping[str, str]) -> dict[str, str]:
    """The ingredients that others can be compared with: all, unless those lack a trainer config."""
    if UNREADABLE not in with_parts:
        return dict(parts)
    # Nothing is known to have changed in what could not be read.
    known = with_parts.keys() - {UNREADABLE, _FROM}
    return {key: value for key, value in parts.items() if key in known}


def signature(parts: Mapping[str, str], asked: int) -> str:
    """One digest over ingredients and how many epochs, or iterations, are asked for."""
    text = "\n".join(f"{key} = {value}" for key, value in sorted(parts.items()))
    return hashlib.sha256(f"{text}\nepochs = {asked}".encode()).hexdigest()


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[Difference]:
    """What is known to have changed between two sets of ingredients, in the order of now."""
    keys = dict.fromkeys([*now, *before])
    if _FROM_UNREADABLE in (before.get(_FROM), now.get(_FROM)) and _FROM in before and _FROM in now:
        del keys[_FROM]  # its checkpoint is compared by its sha256
    return [Difference(k, before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)]
