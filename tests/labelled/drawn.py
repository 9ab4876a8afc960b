"""Logs with a known fault, or none, drawn from a seed."""

from __future__ import annotations

import random

from labelled.families import FAMILIES
from labelled.faults import FAULTS
from labelled.training import Run, made

HEALTHY = "healthy"


def drawn(seed: int, kind: str, number: int, rows: int = 4000) -> Run:
    """The number-th training with such a fault; every other one is clear."""
    rng = random.Random(f"{seed} {kind} {number}")
    ways = [(family, form) for family in FAMILIES for form in family.formats]
    if kind == HEALTHY:
        return made(rng, *ways[number % len(ways)], rows)
    plant, applies = FAULTS[kind]
    start = rng.randrange(len(ways))
    while True:
        start += 1
        run = made(rng, *ways[start % len(ways)], rows)
        if applies(run):
            run.plant = plant(rng, run, number % 2 == 0)
            return run
