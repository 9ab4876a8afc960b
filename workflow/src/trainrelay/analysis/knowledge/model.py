"""The shape of a knowledge file; the fields of its metrics are explained at the head of uniad.yaml."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from trainrelay.analysis.naming import UNSCALED, is_adversarial, is_loss, split
from trainrelay.analysis.numbers import text
from trainrelay.progress_lines.described import compiled, found_in

Zero = Literal["never", "stage 1", "switch", "often", "always"]


slow: Counter[str] = Counter()  # on how many names each pattern took too long


def matching(pattern: str, name: str) -> Any:
    """The match of a file's pattern with a whole name, which is short."""
    return (
        found_in(name, pattern, slow, whole=True)
        if _may_stall(pattern)
        else compiled(pattern).fullmatch(name)
    )


@cache
def _may_stall(pattern: str) -> bool:
    """Whether it repeats a group, or so much that a name of 200 characters takes long: time is looked at
    then, which takes seven times as long as a usual match."""
    return re.search(r"\)[*+{]|(?:[*+?{].*){4}", pattern, re.DOTALL) is not None


def _compiles(pattern: str) -> str:
    compiled(pattern)
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Typical(_Frozen):
    """Usual values: a range, words, or both, and where they are from."""

    low: float | None = None
    high: float | None = None
    text: str = ""
    source: str

    def words(self) -> str:
        """As people read it, with its source."""
        if self.low is None or self.high is None:
            return f"{self.text} ({self.source})"
        said = f", {self.text}" if self.text else ""
        return f"{text(self.low)} to {text(self.high)}{said} ({self.source})"

    def holds(self, value: float) -> bool | None:
        """Whether a value is in the range; None if there is none."""
        return None if self.low is None or self.high is None else self.low <= value <= self.high


class Meaning(_Frozen):
    """What a family of metrics means. `examples` are names that `pattern` matches, as a log prints them; none
    are given where it is a name itself. A metric that is given no `family` is one by itself."""

    pattern: Pattern
    examples: tuple[str, ...] = ()
    group: str
    family: str = ""
    label: str
    meaning: str = ""
    unit: str = ""
    direction: Literal["down", "up"] | None = "down"
    zero: Zero = "often"
    switch: str = ""
    negative: bool = False
    cross_entropy: bool = False
    loss: bool = Field(default_factory=lambda data: data.get("direction") != "up")
    typical: Typical | None = None
    source: str = ""


class Group(_Frozen):
    """A group of metrics: the heading of its section and what to say under it."""

    title: str
    text: str = ""


class PrintedField(_Frozen):
    """A field of the progress line. `words` are patterns of what you may type to ask for it."""

    key: str
    name: str
    words: tuple[Pattern, ...]
    text: str


class Concept(_Frozen):
    """Something that a reader must know of the log, with the checks whose findings are its example."""

    key: str
    title: str
    text: str
    checks: tuple[str, ...] = ()


class KnownSign(_Frozen):
    """A sign and what judges it.

    falls: the sign is there where these metrics (patterns; "loss" is the total) fall. judge: steepest, the
    largest drop of the total is in the first epoch; findings (the default), a warning of one of `checks`
    makes a warning sign, and unmakes a good one. `about` narrows these to the metrics that it matches,
    `stage` to UniAD's first stage.
    """

    kind: Literal["good", "warning"]
    text: str
    checks: tuple[str, ...]
    judge: Literal["findings", "falls", "steepest"] = "findings"
    falls: tuple[Pattern, ...] = ()
    about: Pattern = ""
    stage: Literal["any", "stage 1"] = "any"


ONE_OF = ("balance", "measured_by", "total", "stage_two", "signs")


class Knowledge(_Frozen):
    """One knowledge file: of a model (`recognised_by` metric names) or of log formats (`formats`).

    `coefficients` maps a loss to the trainer's argument that scales it, `balance` names the two groups of
    losses that should fall together, `measured_by` is the pattern of the scores that measure what both train:
    while one rises, a loss that rises is no alarm. `stage_two` is the pattern of metrics that are not there
    before UniAD's second stage. `total` is the metric that is the total loss, or `sum of losses` where a
    trainer logs none and trains on their sum. An empty one still sorts metrics by their names.
    """

    name: str = ""
    recognised_by: tuple[Pattern, ...] = ()
    formats: tuple[str, ...] = ()
    groups: dict[str, Group] = {}
    metrics: tuple[Meaning, ...] = ()
    coefficients: dict[str, str] = {}
    balance: tuple[str, ...] = ()
    measured_by: Pattern = ""
    total: str = ""
    stage_two: Pattern = ""
    progress: tuple[PrintedField, ...] = ()
    concepts: tuple[Concept, ...] = ()
    signs: tuple[KnownSign, ...] = ()

    def recognises(self, names: Sequence[str]) -> int:
        """How many of the metrics have a name by which this model is known: one of its metrics, if no other
        is given."""
        own = () if self.formats else (meaning.pattern for meaning in self.metrics)
        patterns = self.recognised_by or tuple(own)
        return sum(any(matching(pattern, name) for pattern in patterns) for name in names)

    def of(self, name: str) -> Meaning:
        """What a metric means; by its name alone if the file does not have it."""
        return self.known(name) or _guessed(name)

    def known(self, name: str) -> Meaning | None:
        """What the file has on a metric."""
        for meaning in self.metrics:
            if match := matching(meaning.pattern, name):
                return _filled(meaning, match)
        return None

    def concept(self, key: str) -> Concept | None:
        """A concept by its key."""
        return next((concept for concept in self.concepts if concept.key == key), None)

    def over(self, base: Knowledge) -> Knowledge:
        """This model in a log of that format: what it does not define itself comes from there."""
        own_fields = {field.key: field for field in self.progress}
        own_concepts = {concept.key for concept in self.concepts}
        other_groups = {key: group for key, group in base.groups.items() if key not in self.groups}
        return self.model_copy(
            update={
                "formats": base.formats,
                "groups": {**self.groups, **other_groups},
                "metrics": (*self.metrics, *base.metrics),
                "coefficients": {**base.coefficients, **self.coefficients},
                "progress": (*(own_fields.pop(f.key, f) for f in base.progress), *own_fields.values()),
                "concepts": (*self.concepts, *(c for c in base.concepts if c.key not in own_concepts)),
                **{key: getattr(self, key) or getattr(base, key) for key in ONE_OF},
            }
        )


def _filled(meaning: Meaning, match: Any) -> Meaning:
    """With a family, and what the pattern's first group matched in place of `{1}`."""
    first = (match[1] or "") if match.re.groups else ""
    family, label = (text.replace("{1}", first) for text in (meaning.family or match[0], meaning.label))
    return meaning.model_copy(update={"family": family, "label": label})


_CROSS_ENTROPY = re.compile(r"(^|[._])(b?ce|xent|cross_?entropy)([._]|$)", re.IGNORECASE)


def _guessed(name: str) -> Meaning:
    """A metric that no file knows: a loss if its name contains that word, grouped by what is before a dot."""
    return Meaning(
        pattern=re.escape(name),
        group=split(name).group or "other",
        family=name,
        label=name,
        direction="down" if is_loss(name) and not is_adversarial(name) else None,
        cross_entropy=is_loss(name) and _CROSS_ENTROPY.search(name) is not None,
        loss=is_loss(name) and not name.endswith(UNSCALED),
    )
