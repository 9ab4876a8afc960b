"""What is normal: packaged files, one per model family, that say what each metric means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, field_validator

Zero = Literal["never", "stage 1", "often", "always"]

# Numbers of the trainer loop that every log carries; they are no components of the loss.
BOOKKEEPING = frozenset({"loss", "time", "data_time", "memory", "grad_norm", "eta"})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Meaning(_Frozen):
    """What a family of metrics means; the fields are explained at the head of each knowledge file."""

    pattern: str
    group: str
    family: str
    label: str
    meaning: str = ""
    unit: str = ""
    direction: Literal["down", "up"] | None = "down"
    zero: Zero = "often"
    negative: bool = False
    loss: bool = True
    source: str = ""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        re.compile(pattern)
        return pattern


class Knowledge(_Frozen):
    """One knowledge file. An empty one still sorts metrics by their names."""

    name: str = ""
    recognised_by: tuple[str, ...] = ()
    metrics: tuple[Meaning, ...] = ()

    def recognises(self, names: Sequence[str]) -> int:
        """How many of the metrics have a name by which this model is known."""
        return sum(any(re.fullmatch(pattern, name) for pattern in self.recognised_by) for name in names)

    def of(self, name: str) -> Meaning:
        """What a metric means; by its name alone where the file does not say."""
        for meaning in self.metrics:
            if match := re.fullmatch(meaning.pattern, name):
                return _filled(meaning, match)
        return _guessed(name)


def _filled(meaning: Meaning, match: re.Match[str]) -> Meaning:
    """`map.loss_{1}` with what the pattern's first group matched."""
    if not match.re.groups:
        return meaning
    texts = {key: getattr(meaning, key).replace("{1}", match[1] or "") for key in ("family", "label")}
    return meaning.model_copy(update=texts)


def _guessed(name: str) -> Meaning:
    """A metric that no file knows: a loss if its name says so, grouped by what stands before a dot."""
    group, dot, _ = name.partition(".")
    is_loss = "loss" in name
    return Meaning(
        pattern=re.escape(name),
        group=group if dot else "other",
        family=name,
        label=name,
        direction="down" if is_loss else None,
        loss=is_loss,
    )


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
