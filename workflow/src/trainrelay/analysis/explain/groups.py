"""The metrics, a section per group and an item per family: what it is, and how it went here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainrelay.analysis.case import Case, Family, Means
from trainrelay.analysis.checks.validation_metric import direction
from trainrelay.analysis.knowledge.model import Knowledge, Meaning
from trainrelay.analysis.naming import UNSCALED, split
from trainrelay.analysis.numbers import FALL, head_level, percent, reduction, tail_level, text
from trainrelay.records import Explained, Section

DIRECTIONS = {"down": "lower is better", "up": "higher is better", None: ""}
MOST_VALIDATION_METRICS = 12  # as many as COCO's evaluation has

MANY_TIMES = 3  # from here on, percents are hard to read

LabelledText = tuple[str, str]


def groups(case: Case) -> Iterator[Section]:
    """In the file's order, else that of first appearance; validation metrics that only a validation has come
    last in their group."""
    found: dict[str, list[Explained]] = {}
    for family in case.families:
        found.setdefault(family.meaning.group, []).append(_family(case, family))
    validated = [name for name in case.columns["val"] if name not in case.names]
    validation = [name for name in validated if direction(case, name) is not None]
    for name in validation[:MOST_VALIDATION_METRICS]:
        found.setdefault(case.meaning(name).group, []).append(_validated(case, name))
    order = [*case.knowledge.groups, *found]
    for group, items in sorted(found.items(), key=lambda pair: order.index(pair[0])):
        known = case.knowledge.groups.get(group)
        title = "Losses and other metrics" if group == "other" else f"{group} losses"
        yield Section(known.title if known else title, known.text if known else "", tuple(items))


def _family(case: Case, family: Family) -> Explained:
    went = trend(case, family.members)
    shared = [*about(case.knowledge, family.members[0]), *_zero(case, family)]
    facts = [] if case.of_earlier_layers(family) else shared
    if went is not None:
        facts.append(("here", went.words() + _in_range(family.meaning, went.now)))
    elif family.values:
        facts.append(("here", text(family.values[-1])))
    if len(family.members) == 1 and (validated := validation_trend(case, family.members[0])):
        facts.append(("in validation", validated.words()))
    return Explained(family.metric, _text(family.meaning), tuple(facts))


def _text(meaning: Meaning) -> str:
    """Nothing of a metric that no file knows: its name is shown already."""
    known = [part for part in (meaning.label, meaning.meaning) if part and part != meaning.family]
    return ": ".join(known)


def about(knowledge: Knowledge, name: str) -> list[LabelledText]:
    """What is known of a metric without a log."""
    meaning = knowledge.of(name)
    facts = [
        ("unit", _unit(knowledge, name, meaning)),
        ("sign", _sign(meaning)),
        ("direction", DIRECTIONS[meaning.direction]),
        ("typical", meaning.typical.words() if meaning.typical else ""),
        ("known from", meaning.source),
    ]
    return [(word, said) for word, said in facts if said]


def _unit(knowledge: Knowledge, name: str, meaning: Meaning) -> str:
    """A scaled loss has the unit of its unscaled twin, times its coefficient."""
    twin, argument = knowledge.known(name + UNSCALED), knowledge.coefficients.get(split(name).base)
    if meaning.unit or twin is None or twin.pattern == meaning.pattern or not argument:
        return meaning.unit
    return f"{twin.unit}, times {argument}"


def _sign(meaning: Meaning) -> str:
    if meaning.cross_entropy:
        return (
            "a correct cross-entropy is never negative; negative values come from an NLL over raw logits"
            " (without log_softmax), which is the negated logit of the right class, or from a lost sign, and"
            " are a warning"
        )
    if meaning.negative:
        return "may be negative: it is a log-likelihood"
    return "never negative; positive values are normal" if meaning.loss and meaning.source else ""


def _zero(case: Case, family: Family) -> list[LabelledText]:
    """What 0.0 means, if anything, and whether the values are."""
    zero, is_zero = case.zero(family.meaning), bool(family.values) and not any(family.values)
    words = zero_words(family.meaning)
    if is_zero and zero == "by design":
        words = f"0.0 throughout, which is right here: {words}"
    elif is_zero and zero == "never":
        words = f"0.0 throughout, which is not right here: {words}"
    return [("zero", words)] if words else []


def zero_words(meaning: Meaning) -> str:
    """What is zero by design, and what exactly zero means else."""
    match meaning.zero:
        case "always":
            return "0.0 by design"
        case "stage 1":
            return "0.0 by design in stage 1; later, exactly 0.0 is a lost term"
        case "switch":
            name = meaning.switch
            off = f"0.0 by design without {name.replace('_', ' ')} ({name} off)"
            return f"{off}; with them, exactly 0.0 is a lost term"
        case "never":
            return "exactly 0.0 would be a lost term" if meaning.loss else ""
    return ""


def _in_range(meaning: Meaning, now: float) -> str:
    if meaning.cross_entropy and now < 0:
        return "; below zero, which is a warning sign"
    inside = meaning.typical.holds(now) if meaning.typical else None
    return "" if inside is None else f"; {'inside' if inside else 'outside'} the typical range"


def _validated(case: Case, name: str) -> Explained:
    went, meaning = validation_trend(case, name), case.meaning(name)
    here = [("here", went.words())] if went else []
    better = "up" if direction(case, name) == 1 else "down"
    facts = about(case.knowledge, name) if meaning.source else [("direction", DIRECTIONS[better])]
    return Explained(name, _text(meaning), (*facts, *here))


@dataclass(frozen=True, slots=True)
class Trend:
    """`first` and `now` as shown, `start` and `level` as judged (medians of up to a tenth of the points)."""

    first: float
    now: float
    start: float
    level: float
    places: str
    points: int
    bad: str = ""  # where values are NaN or Inf

    @property
    def falls(self) -> bool:
        """By at least 1% of its start, with every value finite."""
        return not self.bad and reduction(self.start, self.level) >= FALL

    def words(self) -> str:
        """As in "1.21 -> 0.48, 60% lower (means of epochs 1 and 6)"; a single point by its value."""
        if self.points == 1:
            return text(self.now)
        return (
            f"{text(self.first)} -> {text(self.now)}{_change(self.first, self.now)} ({self.places}){self.bad}"
        )


def _change(first: float, now: float) -> str:
    share = reduction(first, now)
    if first == now or first <= 0 or now < 0:  # a share of a negative number means nothing
        return ""
    if now >= MANY_TIMES * first:
        return f", {text(now / first)} times as high"
    return f", {percent(abs(share))} {'lower' if share > 0 else 'higher'}"


def trend(case: Case, names: Sequence[str]) -> Trend | None:
    """The mean over these metrics; None if there are no two points to compare."""
    bad = case.non_finite(*names)
    means = _mean_of([case.epoch_means(name) for name in names]) if case.from_zero else []
    if len(means) > 1:
        epochs = f"means of epochs {means[0][0]} and {means[-1][0]}"
        return _trend([value for _, value in means], epochs, bad=bad)
    places = "medians of this log's lines" if case.medians else "first and latest lines"
    return _trend(case.row_means(tuple(names)), places, bad=bad)


def validation_trend(case: Case, name: str) -> Trend | None:
    """The same of a validation metric."""
    means = [(at, value) for at, value in case.validation_means(name) if math.isfinite(value)]
    if not means:
        return None
    word = "iterations" if case.by_iteration else "epochs"
    places = f"{word} {means[0][0]} and {means[-1][0]}" if len(means) > 1 else f"{word[:-1]} {means[0][0]}"
    return _trend([value for _, value in means], places, fewest=1)


def _trend(values: list[float], places: str, fewest: int = 2, bad: str = "") -> Trend | None:
    if len(values) < fewest:
        return None
    start, level = head_level(values), tail_level(values)
    now = values[-1] if places.startswith(("means", "epoch", "iteration")) else level
    return Trend(values[0], now, start, level, places, len(values), bad)


def _mean_of(series: list[Means]) -> Means:
    by_epoch: dict[int, list[float]] = {}
    for means in series:
        for epoch, value in means:
            if math.isfinite(value):
                by_epoch.setdefault(epoch, []).append(value)
    return [(epoch, sum(values) / len(values)) for epoch, values in sorted(by_epoch.items())]
