"""The training's identity: the ingredients of everything that changes its weights, flat and readable.

Two trainings with equal ingredients and an equal initial checkpoint would give the same model; anything
else (backend, workers, logging, resources, paths) may change without training again. `epochs` is kept
apart: raising it continues from the last checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from trainrelay.config import Config, Stage, root
from trainrelay.records import RULES
from trainrelay.system.files import read_once
from trainrelay.trainers import TRAINERS, Trainer, TrainerConfig

# The ingredient that stands for a trainer config that could not be read (checkout not on this machine).
UNREADABLE = "trainer config not readable"


@dataclass(frozen=True, slots=True)
class Difference:
    """One ingredient before and now; None where it is absent."""

    key: str
    before: str | None
    now: str | None

    def __str__(self) -> str:
        return f"{self.key}: {self.before or '(absent)'} -> {self.now or '(absent)'}"


def trainer_of(config: Config, run: str) -> Trainer:
    """The trainer kind of a run."""
    return TRAINERS[config.runs[run].trainer.kind]


def trainer_config(config: Config, run: str, stage: str) -> TrainerConfig:
    """The facts of a stage's trainer config, from the checkout; the stage's options win over its literals."""
    settings = config.stage(run, stage)
    facts = read_once(trainer_of(config, run).read_config, root(config, run), settings.config, RULES)
    return replace(facts, literals={**facts.literals, **settings.options})


def ingredients(config: Config, run: str, stage: str, rules: int = RULES) -> dict[str, str]:
    """The readable ingredients of one stage by a record's rules; the earlier stage's as their digest."""
    settings, trainer = config.stage(run, stage), trainer_of(config, run)
    facts = read_once(trainer.read_config, root(config, run), settings.config, rules)
    stated = trainer.stated(facts, settings.options, rules)
    seed = trainer.default_seed(facts) if settings.seed is None else settings.seed
    parts = {
        "trainer kind": trainer.kind,
        "world size": str(config.runs[run].trainer.nproc_per_node * settings.resources.nodes),
        "seed": "the trainer's default" if seed is None else str(seed),
        "deterministic": str(settings.deterministic),
    }
    parts |= {
        key: text for key, text in stated.items() if trainer.changes_weights(key.removeprefix("option "))
    }
    if facts.problem:
        parts[UNREADABLE] = facts.problem
    return {**parts, **_inherited(config, run, settings, rules)}


def _inherited(config: Config, run: str, settings: Stage, rules: int) -> dict[str, str]:
    if settings.init_from is None:
        return {}
    parent = config.stage(run, settings.init_from)
    # The epoch that is promoted, not how many follow it; not the stage's name either.
    parts = ingredients(config, run, settings.init_from, rules)
    digest = signature(parts, parent.checkpoint_epoch)
    return {"init_from": f"epoch {parent.checkpoint_epoch} of the training {digest[:12]}"}


def signature(parts: Mapping[str, str], epochs: int) -> str:
    """One digest over ingredients and epochs."""
    text = "\n".join(f"{key} = {value}" for key, value in sorted(parts.items()))
    return hashlib.sha256(f"{text}\nepochs = {epochs}".encode()).hexdigest()


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[Difference]:
    """What changed between two sets of ingredients, in the order of now."""
    keys = dict.fromkeys([*now, *before])
    return [Difference(k, before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)]
