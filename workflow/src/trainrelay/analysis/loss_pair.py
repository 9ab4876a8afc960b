"""Training and validation losses that may be held against each other, by epoch."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from trainrelay.analysis.case import Case, Means
from trainrelay.records import Phase

MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class LossPair:
    """The same sum in both phases, at the epochs that have both. `note` says why it is not the total."""

    what: str
    epochs: list[int]
    train: list[float]
    val: list[float]
    note: str = ""


def loss_pair(case: Case) -> LossPair | None:
    """The totals where nothing shows that they are made of other terms, else the sum of the terms that both
    have."""
    if case.by_iteration or not case.rows("val"):
        return None
    train, val = _terms(case, "train"), _terms(case, "val")
    if case.total and case.total in case.log.metrics("val") and (train == val or not (train and val)):
        note = "" if train == val else "whether both are sums of the same terms the log does not show"
        return _aligned(case, [case.total], "loss", note)
    common = [name for name in case.names if name in train & val]
    if not common:
        return None
    note = (
        f"the total losses are not comparable (training has {_many(train)}, validation {_many(val)}),"
        f" so what both have is compared: {named(common)}"
    )
    return _aligned(case, common, named(common), note)


def _many(terms: Collection[str]) -> str:
    return f"{len(terms)} term{'' if len(terms) == 1 else 's'}"


def named(terms: Sequence[str]) -> str:
    """Up to three names, and how many more."""
    more = len(terms) - MOST_NAMED
    return ", ".join(terms[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _terms(case: Case, phase: Phase) -> set[str]:
    return {name for row in case.rows(phase) for name in case.terms(row)}


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
