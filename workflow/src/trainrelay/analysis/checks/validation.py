"""Training against validation: overfitting, no progress, and a gap that is too wide (docs/judgement.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainrelay.analysis.case import Case, Means
from trainrelay.analysis.checks.validation_metric import learns
from trainrelay.analysis.numbers import FALL, LATER_EVALUATIONS, clearly_worse, count, reduction, text
from trainrelay.records import Finding, Phase

RISE = 0.05  # above the best: meant to be above how evaluations differ by chance
MUCH_HIGHER = 0.5  # 18.45 against 15.23, a fifth above, was fine in one keypoint training
EVALUATIONS = 5  # to see a course
TRAINED = 1 / 3  # of the training loss, that fell meanwhile
MOVED = 0.1  # of the first validation loss: less may be chance
MOST_NAMED = 3  # terms in one sentence


@dataclass(frozen=True, slots=True)
class LossPair:
    """The same sum in both phases, at the epochs that have both. `note` says why it is not the total."""

    what: str
    epochs: list[int]
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
        f"Validation {_what(pair)} does not move: {_course(pair.val)} ({text(pair.val[best])} at best, epoch"
        f" {pair.epochs[best]}), while training went {_course(pair.train)}"
    )
    advice = "What is learned does not carry over: check that both kinds of data are prepared alike."
    return _finding(pair, best, message, advice)


def _risen(pair: LossPair, best: int) -> Finding:
    onset, fell = pair.epochs[best], reduction(pair.train[best], pair.train[-1]) >= FALL
    message = (
        f"{'Overfitting' if fell else 'The validation loss rises'} from epoch {onset} on: validation"
        f" {_what(pair)} was best there ({text(pair.val[best])}) and is {text(pair.val[-1])} at epoch"
        f" {pair.epochs[-1]}, while training went {text(pair.train[best])} -> {text(pair.train[-1])}"
    )
    advice = (
        f"Keep the checkpoint of epoch {onset}; more data or augmentation, stronger weight decay or fewer"
        " epochs help."
        if fell
        else f"Keep the checkpoint of epoch {onset}; lower the learning rate."
    )
    return _finding(pair, best, message, advice)


def _wide(pair: LossPair, best: int, *, calm: bool) -> Finding:
    """`calm`: validation keeps its best loss, and a score rises."""
    message = (
        f"Validation {_what(pair)} is much higher than in training, a sign of overfitting:"
        f" {text(pair.val[-1])} against {text(pair.train[-1])} at epoch {pair.epochs[-1]} (more than"
        f" {MUCH_HIGHER:.0%} above counts as much)"
    )
    advice = "Check that both are prepared alike; else more data, augmentation or weight decay."
    return _finding(pair, best, message, "" if calm else advice)


def _follows(case: Case, pair: LossPair, best: int) -> Finding:
    follows = "went" if case.failed or reduction(pair.val[0], pair.val[-1]) < FALL else "follows training:"
    message = (
        f"Validation {_what(pair)} {follows} {_course(pair.val)} against {_course(pair.train)}"
        if len(pair.epochs) > 1
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
        where=f"epoch {pair.epochs[best]}" if advice else None,
        evidence={
            "train": pair.train[-1],
            "val": pair.val[-1],
            "best_epoch": pair.epochs[best],
            "best": pair.val[best],
            "train_at_best": pair.train[best],
            "evaluations": len(pair.epochs),
            "comparable": not pair.note,
            "enough": len(pair.epochs) > 1,
        },
        advice=advice,
    )


# ---------------------------------------------------------------------- what may be compared


def _loss_pair(case: Case) -> LossPair | None:
    """The totals where nothing shows that they are made of other terms, else the sum of the terms that both
    have."""
    if case.by_iteration or not case.rows("val"):
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
        f" so what both have is compared: {_named(common)}"
    )
    return _aligned(case, common, _named(common), note)


def _named(terms: Sequence[str]) -> str:
    """Up to three names, and how many more."""
    more = len(terms) - MOST_NAMED
    return ", ".join(terms[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _terms(case: Case, phase: Phase) -> set[str]:
    return {*case.term_names & case.columns[phase].keys()}


def _aligned(case: Case, names: list[str], what: str, note: str) -> LossPair | None:
    train, val = _sums([case.epoch_means(n) for n in names]), _sums([case.validation_means(n) for n in names])
    epochs = [
        epoch for epoch in train if epoch in val and math.isfinite(train[epoch]) and math.isfinite(val[epoch])
    ]
    if not epochs:
        return None
    return LossPair(what, epochs, [train[epoch] for epoch in epochs], [val[epoch] for epoch in epochs], note)


def _sums(terms: list[Means]) -> dict[int, float]:
    """By epoch, where every term is there."""
    by_epoch = [dict(means) for means in terms]
    return {
        epoch: sum(means[epoch] for means in by_epoch)
        for epoch in by_epoch[0]
        if all(epoch in means for means in by_epoch)
    }
