"""Training and validation by epoch, beside an example of a good progression."""

from __future__ import annotations

from collections.abc import Iterator

from trainrelay.diagnose.case import Case, Means
from trainrelay.diagnose.numbers import text
from trainrelay.records import Explained, Section

FIRST, LAST = 3, 2


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
