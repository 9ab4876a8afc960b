"""Training against validation: overfitting, no progress, and a gap that is too wide (docs/judgement.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from trainrelay.analysis.case import Case, Means
from trainrelay.analysis.checks.validation_metric import learns
from trainrelay.analysis.numbers import (
    FALL,
    LATER_EVALUATIONS,
    clearly_worse,
    enumerated,
    reduction,
    text,
)
from trainrelay.records import Finding, Phase
from trainrelay.text import count

RISE = 0.05  # above the best: meant to be above how evaluations differ by chance
MUCH_HIGHER = 0.5  # 18.45 against 15.23, a fifth above, was fine in one keypoint training
EVALUATIONS = 5  # to see a course
TRAINED = 1 / 3  # of the training loss, that fell meanwhile
MOVED = 0.1  # of the first validation loss: less may be chance


@dataclass(frozen=True, slots=True)
class LossPair:
    """The same sum in both phases, `at` the epochs that have both, or the iterations, as `unit` says. `note`
    says why it is not the total."""

    unit: str
    what: str
    at: list[int]
    train: list[float]
    val: list[float]
    note: str = ""


def validation(case: Case) -> Iterator[Finding]:
    """One finding: overfitting, a wide gap, no progress, or that validation follows training."""
    pair = _loss_pair(case)
    if pair is None:
        return
    best = pair.val.index(min(pair.val))
    later, rise = len(pair.val) - 1 - best, -reduction(pair.val[best], pair.val[-1])
    if later >= LATER_EVALUATIONS and rise > RISE and clearly_worse(pair.val, -1):
        yield _risen(pair, best)
    elif pair.val[-1] - pair.train[-1] > MUCH_HIGHER * abs(pair.train[-1]):
        yield _wide(pair, best, calm=rise <= MOVED and learns(case))
    elif _unmoved(pair, best) and not learns(case):
        yield _still(pair, best)
    else:
        yield _follows(case, pair, best)


def _unmoved(pair: LossPair, best: int) -> bool:
    moved = reduction(pair.val[0], pair.val[-1]) >= FALL or reduction(pair.val[0], pair.val[best]) >= MOVED
    return len(pair.val) >= EVALUATIONS and reduction(pair.train[0], pair.train[-1]) >= TRAINED and not moved


def _still(pair: LossPair, best: int) -> Finding:
    message = (
        f"Validation {_what(pair)} does not move: {_course(pair.val)} ({text(pair.val[best])} at best,"
        f" {pair.unit} {pair.at[best]}), while training went {_course(pair.train)}"
    )
    advice = "What is learned does not carry over: check that both kinds of data are prepared alike."
    return _finding(pair, best, message, advice)


def _risen(pair: LossPair, best: int) -> Finding:
    onset, fell = f"{pair.unit} {pair.at[best]}", reduction(pair.train[best], pair.train[-1]) >= FALL
    message = (
        f"{'Overfitting' if fell else 'The validation loss rises'} from {onset} on: validation"
        f" {_what(pair)} was best there ({text(pair.val[best])}) and is {text(pair.val[-1])} at {pair.unit}"
        f" {pair.at[-1]}, while training went {text(pair.train[best])} -> {text(pair.train[-1])}"
    )
    advice = (
        f"Keep the checkpoint of {onset}; more data or augmentation, stronger weight decay or fewer"
        " epochs help."
        if fell
        else f"Keep the checkpoint of {onset}; lower the learning rate."
    )
    return _finding(pair, best, message, advice)


def _wide(pair: LossPair, best: int, *, calm: bool) -> Finding:
    """`calm`: validation keeps its best loss, and a score rises."""
    message = (
        f"Validation {_what(pair)} is much higher than in training, a sign of overfitting:"
        f" {text(pair.val[-1])} against {text(pair.train[-1])} at {pair.unit} {pair.at[-1]} (more than"
        f" {MUCH_HIGHER:.0%} above counts as much)"
    )
    advice = "Check that both are prepared alike; else more data, augmentation or weight decay."
    return _finding(pair, best, message, "" if calm else advice)


def _follows(case: Case, pair: LossPair, best: int) -> Finding:
    follows = "went" if case.failed or reduction(pair.val[0], pair.val[-1]) < FALL else "follows training:"
    message = (
        f"Validation {_what(pair)} {follows} {_course(pair.val)} against {_course(pair.train)}"
        if len(pair.at) > 1
        else f"Validation {_what(pair)} is {text(pair.val[0])} against {text(pair.train[0])} in training"
    )
    return _finding(pair, best, message, "")


def _course(values: list[float]) -> str:
    return f"{text(values[0])} -> {text(values[-1])}"


def _what(pair: LossPair) -> str:
    return "loss" if pair.what == "loss" else f"({pair.what})"


def _finding(pair: LossPair, best: int, message: str, advice: str) -> Finding:
    return Finding(
        "validation",
        "warning" if advice else "info",
        message + (f"; {pair.note}." if pair.note else "."),
        metric="loss" if pair.what == "loss" else None,
        where=f"{pair.unit} {pair.at[best]}" if advice else None,
        evidence={
            "train": pair.train[-1],
            "val": pair.val[-1],
            f"best_{pair.unit}": pair.at[best],
            "best": pair.val[best],
            "train_at_best": pair.train[best],
            "evaluations": len(pair.at),
            "comparable": not pair.note,
            "enough": len(pair.at) > 1,
        },
        advice=advice,
    )


# ---------------------------------------------------------------------- what may be compared


def _loss_pair(case: Case) -> LossPair | None:
    """The totals where nothing shows that they are made of other terms, else the sum of the terms that both
    have."""
    if not case.rows("val"):
        return None
    train, val = _terms(case, "train"), _terms(case, "val")
    if case.total and case.total in case.columns["val"] and (train == val or not (train and val)):
        note = "" if train == val else "whether both are sums of the same terms the log does not show"
        return _aligned(case, [case.total], "loss", note)
    common = [name for name in case.names if name in train & val]
    if not common:
        return None
    note = (
        f"the total losses are not comparable (training has {count(len(train), 'term')},"
        f" validation {count(len(val), 'term')}),"
        f" so what both have is compared: {enumerated(common)}"
    )
    return _aligned(case, common, enumerated(common), note)


def _terms(case: Case, phase: Phase) -> set[str]:
    return {*case.term_names & case.columns[phase].keys()}


def _aligned(case: Case, names: list[str], what: str, note: str) -> LossPair | None:
    train, val = _sums([case.epoch_means(n) for n in names]), _sums([case.validation_means(n) for n in names])
    both = [at for at in train if at in val and math.isfinite(train[at]) and math.isfinite(val[at])]
    if not both:
        return None
    return LossPair(case.unit, what, both, [train[at] for at in both], [val[at] for at in both], note)


def _sums(terms: list[Means]) -> dict[int, float]:
    """At each place where every term is there."""
    by_place = [dict(means) for means in terms]
    return {
        at: sum(means[at] for means in by_place)
        for at in by_place[0]
        if all(at in means for means in by_place)
    }
