"""Two trainings, called A and B: where each came, and where their losses part. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

from trainrelay.analysis.case import Case
from trainrelay.analysis.checks.validation_metric import direction
from trainrelay.analysis.naming import is_loss
from trainrelay.analysis.numbers import EPOCHS_TO_JUDGE, JITTERS, best_level, tail_level, text, wobble
from trainrelay.records import Expectation, Log, Phase
from trainrelay.text import count

Compared = dict[str, tuple[list[float], list[float]]]  # by metric: final of A and B, best of A and B


def compare(one: Log, other: Log) -> tuple[str, Compared]:
    """Where they part, in words, and what both log: levels of the losses, then values of the validation."""
    cases, found = (Case(one, Expectation()), Case(other, Expectation())), Compared()
    for name in cases[0].losses:
        _add(found, f"{name} (training)", cases, (name, "train"), (tail_level, best_level))
    for name in cases[0].columns["val"]:
        if sign := direction(cases[0], name) or (is_loss(name) and -1):
            _add(found, name, cases, (name, "val"), (lambda values: values[-1], max if sign > 0 else min))
    return _parted(*cases), found


def _add(
    into: Compared,
    title: str,
    cases: tuple[Case, Case],
    at: tuple[str, Phase],
    levels: tuple[Callable[[list[float]], float], Callable[[list[float]], float]],
) -> None:
    values = [case.column(*at).finite for case in cases]
    if all(values):
        final, best = levels
        into[title] = ([*map(final, values)], [*map(best, values)])


def _parted(*cases: Case) -> str:
    one, totals = cases[0], [case.total or "" for case in cases]
    if not all(totals):
        return "Not both log a total loss, so where they part is not known."
    if len({case.log.epochs_only for case in cases}) > 1:
        return "One logs epochs, the other iterations, so where their losses part is not known."
    first, second = (
        {row.step: (row, value) for row, value in case.points(total)}
        for case, total in zip(cases, totals, strict=True)
    )
    both = [(*first[step], second[step][1]) for step in sorted(first.keys() & second.keys())]
    if not both:
        return "They log no step in common, so where their losses part is not known."
    apart = [at for at, (_, a, b) in enumerate(both) if a != b and not math.isnan(a) * math.isnan(b)]
    if not apart:
        return f"The losses are equal at all {count(len(both), 'step')} that both log."
    row, a, b = both[apart[0]]
    equal = f"equal up to {one.where(both[apart[0] - 1][0])}" if apart[0] else "apart from the start"
    name = " or ".join(dict.fromkeys(totals))
    here = f"at {one.where(row)} {name} is {text(a)} in A and {text(b)} in B"
    return f"The losses are {equal}; {here}{_clearly(*cases)}."


def _clearly(one: Case, other: Case) -> str:
    """From which epoch (or evaluation) on the means up to it differ by more than they vary."""
    first, second = (dict(case.epoch_means(case.total or "")) for case in (one, other))
    epochs = sorted(first.keys() & second.keys())
    if len(epochs) < EPOCHS_TO_JUDGE:
        return ""
    vary = JITTERS * max(wobble([of[at] for at in epochs]) for of in (first, second))
    near = max((at for at in epochs if not abs(first[at] - second[at]) > vary), default=0)
    apart = next((at for at in epochs if at > near), None)
    return f"; from {one.unit} {apart} on by more than they vary" if apart else ""
