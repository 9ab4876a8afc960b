"""What is normal: packaged files, one per model family and per family of log formats."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources

import yaml

from trainrelay.diagnose.knowledge.model import (
    Concept,
    Knowledge,
    KnownSign,
    Meaning,
    PrintedField,
    Typical,
)

# Numbers of the trainer loop that every log carries; they are no components of the loss.
BOOKKEEPING = frozenset({"loss", "time", "data_time", "memory", "grad_norm", "eta"})


@cache
def packaged() -> tuple[Knowledge, ...]:
    """All knowledge files of the package, validated."""
    folder = resources.files(__package__)
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda f: f.name)
    return tuple(Knowledge.model_validate(yaml.safe_load(file.read_text("utf-8"))) for file in files)


def best_for(names: Sequence[str]) -> Knowledge:
    """The file that recognises most of the metrics; an empty one if none recognises any."""
    best = max(packaged(), key=lambda knowledge: knowledge.recognises(names), default=Knowledge())
    return best if best.recognises(names) else Knowledge()


def of_format(form: str) -> Knowledge:
    """What is known of a log format: the fields of its lines, and what holds of every training."""
    return next((knowledge for knowledge in packaged() if form in knowledge.formats), Knowledge())


__all__ = [
    "BOOKKEEPING",
    "Concept",
    "Knowledge",
    "KnownSign",
    "Meaning",
    "PrintedField",
    "Typical",
    "best_for",
    "of_format",
    "packaged",
]
