"""The total loss: recomputed part by part (coefficient x unscaled), and by epoch beside its validation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from trainrelay.analysis.case import Case, Means
from trainrelay.analysis.checks.auxiliary import Layers, layers_of
from trainrelay.analysis.checks.scaling import Scale, holds, rows_of_means, scales
from trainrelay.analysis.naming import UNSCALED, split
from trainrelay.analysis.numbers import NOTICEABLE, percent, text
from trainrelay.records import Explained, Row, Section

TITLE = "Total loss"
FIRST, LAST = 3, 2  # epochs that are shown of many


@dataclass(frozen=True, slots=True)
class LossPart:
    """A family of terms of the sum: their names, their sum, and the sum before the coefficient."""

    name: str
    terms: tuple[str, ...]
    scaled: float
    unscaled: float | None
    coefficient: float | None
    source: str

    @property
    def recomputed(self) -> float:
        """Coefficient x unscaled; the logged sum where one of them is not known."""
        if self.unscaled is None or self.coefficient is None:
            return self.scaled
        return self.coefficient * self.unscaled


def total(case: Case) -> Iterator[Section]:
    """Nothing where no total is logged."""
    concept = case.knowledge.concept("total")
    row = _row(case)
    if case.total is None or row is None:
        return
    parts = _parts(case, row)
    said = [concept.text if concept else "", _place(case, row), _sum(case, row, parts)]
    items = tuple(_item(part, row.values[case.total]) for part in parts)
    yield Section(concept.title if concept else TITLE, "\n\n".join(filter(None, said)), items)


def _row(case: Case) -> Row | None:
    """The latest row of means; of medians, if there are no others."""
    rows = [row for row in rows_of_means(case) or case.train if case.total in row.values]
    whole = [row for row in rows if not case.term_names.isdisjoint(row.values)] or rows
    return whole[-1] if whole else None


def _parts(case: Case, row: Row) -> list[LossPart]:
    """By family; the layers of one loss are one part."""
    found: dict[str, list[str]] = {}
    for name in case.terms(row):
        found.setdefault(_part_of(case, name), []).append(name)
    return [_part(case, row, name, terms) for name, terms in found.items()]


def _part_of(case: Case, name: str) -> str:
    base = split(name).base
    return base if base in case.layered else case.meaning(name).family


def _part(case: Case, row: Row, name: str, terms: list[str]) -> LossPart:
    raw = [row.values.get(term + UNSCALED) for term in terms]
    scaled, unscaled = sum(row.values[term] for term in terms), _sum_of(raw)
    coefficient, source = None, ""
    if configured := case.coefficient(name):
        coefficient, source = configured[1], f"{configured[0]} in the log's Namespace"
    elif unscaled is not None and abs(unscaled) > NOTICEABLE:
        coefficient, source = scaled / unscaled, "the ratio of scaled to unscaled"
    return LossPart(name, tuple(terms), scaled, unscaled, coefficient, source)


def _sum_of(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) if len(present) == len(values) else None


def _place(case: Case, row: Row) -> str:
    if row.phase == "epoch" or case.log.epochs_only:
        return f"Here, from the mean of epoch {row.epoch}:"
    return f"Here, at {case.where(row)}:"


def _sum(case: Case, row: Row, parts: list[LossPart]) -> str:
    """Whether the parts add up to the total, and why not."""
    logged, recomputed = row.values[case.total or ""], sum(part.recomputed for part in parts)
    if not parts:
        return f"The total is {_four(logged)}; this log does not show its parts."
    written = " + ".join(_four(part.recomputed) for part in parts[:6]) + (" + ..." if len(parts) > 6 else "")
    difference = f"logged: {_four(logged)}; difference {_four(recomputed - logged)}."
    return f"{written} = {_four(recomputed)}; {difference} {_judged(case, row)}"


def _judged(case: Case, row: Row) -> str:
    logged, terms = row.values[case.total or ""], sum(case.terms(row).values())
    if case.medians and row.phase != "epoch":
        return (
            "These are medians of the last 20 iterations, which do not add up; the sum is checked on means"
            " (Averaged stats), which this log does not have yet."
        )
    if not math.isfinite(logged) or not math.isfinite(terms):
        return "With numbers that are not finite nothing can be checked."
    if holds(case, row):
        return "The sum holds."
    if terms < logged:
        lack = _four(logged - terms)
        return f"The parts lack {lack}: this trainer's log hides terms (auxiliary losses, most often)."
    return f"The parts are {_four(terms - logged)} too many: some of what is logged is no part of the total."


def _item(part: LossPart, logged: float) -> Explained:
    many = len(part.terms)
    what = "1 term" if many == 1 else f"{many} terms ({part.terms[0]} to {part.terms[-1]})"
    facts = [("sum of its terms", _four(part.scaled))]
    if part.coefficient is not None and part.unscaled is not None:
        facts = [
            ("coefficient", f"{text(part.coefficient)} ({part.source})"),
            (
                "coefficient x unscaled",
                f"{text(part.coefficient)} x {_four(part.unscaled)} = {_four(part.recomputed)}, logged"
                f" {_four(part.scaled)}, difference {_four(part.recomputed - part.scaled)}",
            ),
        ]
    if logged and math.isfinite(logged) and part.scaled >= 0 and logged > 0:
        facts.append(("share of the total", percent(part.scaled / logged)))
    return Explained(part.name, what, tuple(facts))


def _four(value: float) -> str:
    """With the four decimals that logs print; never "-0.0000"."""
    return f"{value:.4f}" if abs(value) >= 0.5e-4 or not math.isfinite(value) else "0.0000"


def progression(case: Case) -> Iterator[Section]:
    """The first epochs and the last ones; nothing where the file has no example."""
    concept = case.knowledge.concept("progression")
    if concept is None or case.total is None:
        return
    train, val = case.epoch_means(case.total), dict(case.validation_means(case.total))
    items = [_epoch(epoch, value, val.get(epoch)) for epoch, value in _shown(train)]
    yield Section(concept.title, concept.text, tuple(items))


def _shown(means: Means) -> Means:
    return means if len(means) <= FIRST + LAST else means[:FIRST] + means[-LAST:]


def _epoch(epoch: int, train: float, val: float | None) -> Explained:
    validated = f", val loss {_number(val)}" if val is not None else ""
    return Explained(f"Epoch {epoch}", f"train loss {_number(train)}{validated}")


def _number(value: float) -> str:
    """With two decimals, as such tables have."""
    return f"{value:.2f}" if 1 <= abs(value) < 1e6 else text(value)


def auxiliary_losses(case: Case) -> Iterator[Section]:
    """An item per loss that is logged per layer; nothing where none is."""
    concept = case.knowledge.concept("auxiliary")
    found = layers_of(case)
    if concept and found:
        yield Section(concept.title, concept.text, tuple(map(_layers, found)))


def _layers(found: Layers) -> Explained:
    count = len(found.names)
    numbers = ", ".join(text(value) for value in found.now)
    worse = [f"layer {layer} by {text(by)}" for layer, by in found.out_of_order()]
    stuck = found.not_falling()
    order = (
        f"clearly worse than the layer before: {', '.join(worse)}" if worse else "no layer is clearly worse"
    )
    facts = [("here", f"layers 0 to {count - 1}: {numbers}"), ("order", order)]
    if found.epochs > 1:
        fell = f"does not decrease: {', '.join(stuck)}" if stuck else _fell(found)
        facts.append(("over epochs", fell))
    name = f"{found.names[0]} to {found.names[-2]}"
    return Explained(name, f"{count} layers with {found.base}, the last one", tuple(facts))


def _fell(found: Layers) -> str:
    lower = sum(now < first for first, now in zip(found.first, found.now, strict=True))
    return f"{lower} of {len(found.names)} layers are lower than at first"


def scaled_losses(case: Case) -> Iterator[Section]:
    """An item per loss with an unscaled twin; nothing where no loss has one."""
    concept = case.knowledge.concept("scaled")
    found = [one for one in scales(case) if split(one.name).layer is None]
    if concept and found:
        yield Section(concept.title, concept.text, tuple(map(_scale, found)))


def _scale(one: Scale) -> Explained:
    _, value, raw = one.pairs[-1]
    here = f"{value:.4f} / {raw:.4f}: {text(one.ratio)} times as large throughout"
    if one.off(one.ratio):
        here = f"about {text(one.ratio)} times as large, but not everywhere"
    facts = [("here", here)]
    if one.configured:
        facts.append(("coefficient", f"{one.configured[0]} = {text(one.configured[1])}"))
    return Explained(one.name, f"scaled; {one.name}{UNSCALED} is its raw value", tuple(facts))
