"""The total loss at the points of a training that are worth a look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from trainrelay.analysis.case import TRAINING, Case, kept
from trainrelay.records import Milestone, Row

EARLY_ITERATION = 100
FEWEST_RATES = 3  # of a rise in steps: a schedule may jump at any time
LATER_EPOCHS = 24  # of a long training, evenly spaced


@kept
def progression(case: Case) -> tuple[Milestone, ...]:
    """Start, about iteration 100, warm-up done, end of the first epoch, start of each later one, latest."""
    if case.total is None:
        return ()
    lines, means = (case.column(case.total, phase).rows for phase in TRAINING)
    rows = lines if len(lines) >= len(means) else means
    labels: dict[int, tuple[Row, str]] = {}
    for row, note in _notable(rows):
        labels.setdefault(row.step, (row, note))
    return tuple(_milestone(case, *labels[step]) for step in sorted(labels))


def _notable(rows: list[Row]) -> Iterator[tuple[Row, str]]:
    if not rows:
        return
    yield rows[0], "start"
    if (done := _warmup_done(rows)) is not None:
        yield done, "lr warmup done"
    first_epoch = [row for row in rows if row.epoch == rows[0].epoch]
    if len(first_epoch) < len(rows):
        yield first_epoch[-1], "end"
    if (early := _early(first_epoch)) is not None:
        yield early, ""
    yield rows[-1], "latest"
    for row in _epoch_starts(rows[len(first_epoch) :]):
        yield row, ""


def _warmup_done(rows: list[Row]) -> Row | None:
    """Where the learning rate is first as high as it gets, after it rose in steps, never rises again. If it
    is not there for longer than at a step before, it may still rise."""
    rated = [row for row in rows if "lr" in row.values]
    rates = [row.values["lr"] for row in rated]
    high = max(rates, default=0.0) * (1 - 1e-6)
    at = next((at for at, rate in enumerate(rates) if rate >= high), 0)
    up, down = rates[: at + 1], rates[at:]
    done = up == sorted(up) and len(set(up)) >= FEWEST_RATES and down == sorted(down, reverse=True)
    steps = Counter(up[:-1]).values()  # how long it was at each
    return rated[at] if done and (rates[-1] < high or len(down) > max(steps)) else None


def _early(rows: list[Row]) -> Row | None:
    """The row nearest to iteration 100, if one is within half of that."""
    nearest = min(rows, key=lambda row: abs(row.iteration - EARLY_ITERATION))
    return nearest if abs(nearest.iteration - EARLY_ITERATION) <= EARLY_ITERATION // 2 else None


def _epoch_starts(rows: list[Row]) -> list[Row]:
    first: dict[int, Row] = {}
    for row in rows:
        first.setdefault(row.epoch, row)
    starts = list(first.values())
    return starts[:: -(-len(starts) // LATER_EPOCHS) or 1]


def _milestone(case: Case, row: Row, note: str) -> Milestone:
    place = case.where(row) if row.phase == "train" else f"epoch {row.epoch}"
    label = place[0].upper() + place[1:] + (f" ({note})" if note else "")
    return Milestone(label, row.epoch, row.iteration, row.step, row.values[case.total or ""])
