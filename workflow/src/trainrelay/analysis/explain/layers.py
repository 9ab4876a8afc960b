"""Losses per decoder layer, and losses before and after their coefficient."""

from __future__ import annotations

from collections.abc import Iterator

from trainrelay.analysis.case import Case
from trainrelay.analysis.checks.auxiliary import Layers, layers_of
from trainrelay.analysis.checks.scaling import Scale, scales
from trainrelay.analysis.naming import UNSCALED, split
from trainrelay.analysis.numbers import text
from trainrelay.records import Explained, Section


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
