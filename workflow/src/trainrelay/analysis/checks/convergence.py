"""Whether the total loss falls, keeps what it gained, slows down or spikes (docs/judgement.md has the rules).

Divergence blocks, so it takes more than a warning does; a share of the way back as well as of the best, since
a best near zero doubles easily. Levels are those of `numbers`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from statistics import median

from trainrelay.analysis.case import Case, kept
from trainrelay.analysis.checks.finiteness import negative
from trainrelay.analysis.checks.validation_metric import by_rewards, learns
from trainrelay.analysis.naming import is_reward
from trainrelay.analysis.numbers import (
    EPOCHS_TO_JUDGE,
    FALL,
    NOTICEABLE,
    STILL_EARLY,
    best_level,
    capital,
    enumerated,
    finite,
    head_level,
    noticeable,
    percent,
    reduction,
    risen_from,
    tail_level,
    text,
    wobble,
)
from trainrelay.records import Finding, Severity
from trainrelay.text import count

FIRST_POINTS = 0.03  # of all; a single high one is no course
HARDLY = 0.03  # of the start; a training that has most of its time before it loses more
MANY_POINTS = 30  # to see less than FALL, or to ask for more
EXPLODED = 10.0  # times the median before: meant to be above what one bad batch does to three lines in a row
EXPLODED_POINTS = 3
DOES_NOT_FALL = (
    "The learning rate may be too low, or the data wrong: check both, and that the right weights were loaded."
)
CHANCE = 3.0  # times the deviation of a third's median: what differs less may be without a trend
HUMP = 1.5  # times the best level before
HUMP_LEVELS = 40  # the course is cut into so many levels, of three points at least
HUMP_NOISE = 8.0  # times the noise of a level
PLATEAU_POINTS = 20  # so that a third of them has a level
SLOWED = 0.25  # of the earlier slope
FLAT = 0.005  # of the loss, over the last third: half of what counts as a fall
SPIKE_WINDOW = 25  # values before a place: few enough to follow the descent
SPIKE_FEWEST = 5  # values before a place, to know what is usual there
SPIKE_BLOWN = 1000.0  # times what is usual: two values before it are enough, and one such spike is too many
SPIKE_HEIGHT = 2.0  # times the median before
SINGLE = 20  # with fewer points a tenth of them is one
SPIKE_LINES, SPIKE_PART = 5, 0.05  # in a row, and of all of them; more are a hump
SPIKE_SPREAD = 10.0  # times the median distance from that median
MANY_SPIKES = 3  # one or two are worth a note only
SPIKE_SHARE = 0.01  # of all lines, from which on they are no rare batches
SPIKE_TINY = 0.01  # of the first values: near zero a loss doubles easily
SPIKE_HIGH = 10.0  # times what is usual: many of them are no rare batches either


@dataclass(frozen=True, slots=True)
class Levels:
    """The total loss in a few numbers. `settled` and `late` are the first and last third of what follows the
    first points; `hump` is the best level, the later one that is twice as high, and the lowest after it."""

    metric: str
    first: float
    last: float
    start: float
    best: float
    now: float
    held: float  # the lower of the last two where a level is a single value, which may be chance
    noise: float
    settled: float
    late: float
    chance: float  # by which both may differ without a trend
    exploded: bool
    hump: tuple[float, float, float] | None
    rose: str | None  # where it rose for the last time
    hump_at: str | None
    points: int
    points_to_judge: int  # fewer points are not judged

    @property
    def clear(self) -> float:
        """What is no noise; nor, of a loss that begins with exactly 0.0, rounding."""
        return max(3 * self.noise, 0.0 if self.start else NOTICEABLE)

    @property
    def diverged(self) -> bool:
        if self.exploded:
            return True
        above_start = self.held > self.start + max(0.5 * abs(self.start), self.clear)
        back = max(abs(self.best), 0.75 * (self.start - self.best), self.clear)
        blown_up = self.start > self.best and self.held > self.best + back
        return self.points >= self.points_to_judge and (above_start or blown_up)

    @property
    def rising_again(self) -> bool:
        back = max(0.1 * abs(self.best), (self.start - self.best) / 3, self.clear)
        return self.points >= self.points_to_judge and self.now > self.best + back


@kept
def levels(case: Case) -> Levels | None:
    """None if the total loss has fewer than two finite values, or need not fall, unless it blows up."""
    if case.total is None:
        return None
    values, few = _judged(case, case.total)
    if len(values) < 2 or (by_rewards(case) and not _exploded(values, SPIKE_BLOWN)):
        return None
    noise = median(abs(after - before) for before, after in pairwise(values[: len(values) // 2 + 1]))
    body = values[math.ceil(FIRST_POINTS * len(values)) :]
    third = max(1, len(body) // 3)
    best, now = best_level(values), tail_level(values)
    hump, top = _hump(_calm(case, case.total, values), noise) or (None, 0)
    rose = risen_from(values, best + min(abs(best) / 2, (now - best) / 4))
    return Levels(
        case.total,
        values[0],
        values[-1],
        head_level(values),
        best,
        now,
        now if len(values) >= SINGLE else min(values[-2:]),
        noise,
        median(body[:third]),
        median(body[-third:]),
        CHANCE * wobble(body) / math.sqrt(third) if len(values) >= MANY_POINTS else 0.0,
        _exploded(values),
        hump,
        _where(case, len(values), rose),
        _where(case, len(values), top),
        len(values),
        few,
    )


def _exploded(values: list[float], times: float = EXPLODED) -> bool:
    before, last = values[:-EXPLODED_POINTS], values[-EXPLODED_POINTS:]
    return len(before) > 1 and min(last) > max(times * abs(median(before)), noticeable(values))


def _where(case: Case, points: int, at: int) -> str | None:
    """The place of a finite value of the total, by its number; the epoch, where their means are judged."""
    rows = [row for row, value in case.points(case.total or "") if math.isfinite(value)]
    if at >= points or len(rows) != points:
        return None if at >= points else f"epoch {case.epoch_means(case.total or '')[at][0]}"
    return case.where(rows[at])


def _calm(case: Case, total: str, values: list[float]) -> list[float]:
    """The values, but spikes of a few lines as what was usual before: a hump lasts, as whole epochs do."""
    every = case.column(total).values
    if values is not case.column(total).finite or case.log.epochs_only:
        return values
    calm, found = [*every], _spiking(case, total)
    for _, run in groupby(enumerate(found), key=lambda one: one[1] - one[0]):
        lines = [at for _, at in run]
        for at in lines if len(lines) <= min(SPIKE_LINES, SPIKE_PART * len(values)) else ():
            calm[at] = found[at]
    return [level for level, value in zip(calm, every, strict=True) if math.isfinite(value)]


def _hump(values: list[float], noise: float) -> tuple[tuple[float, float, float], int] | None:
    """The highest one, and where; None where none is clear of the noise, or the last level is still on it."""
    width = max(3, len(values) // HUMP_LEVELS)
    places = range(0, len(values) - width + 1, max(1, width // 3))
    levels = [median(values[at : at + width]) for at in places]
    bests = list(accumulate(levels, min))
    clear, least = HUMP_NOISE * noise / math.sqrt(width), noticeable(values)
    humps = [
        (best, top, min(levels[at:]), places[at] + width // 2)
        for at, (best, top) in enumerate(zip(bests, levels, strict=True))
        if top > max(HUMP * best, best + clear, least) and best > 0
    ]
    best, top, after, at = max(humps, key=lambda hump: hump[1] - hump[0], default=(0.0, 0.0, 0.0, 0))
    return ((best, top, after), at) if top and after < best + (top - best) / 2 else None


def _judged(case: Case, total: str) -> tuple[list[float], int]:
    """The logged values, and how many of them are enough; the means of epochs where those are too few."""
    values = case.column(total).finite
    means = finite([mean for _, mean in case.epoch_means(total)])
    if len(values) < case.points_to_judge and case.rows("epoch") and len(means) >= EPOCHS_TO_JUDGE:
        return means, EPOCHS_TO_JUDGE
    return values, case.points_to_judge


def divergence(case: Case) -> Iterator[Finding]:
    """Critical, unless rewards fell as well: what is asked may have become harder."""
    found = levels(case)
    if found is None or not found.diverged:
        return
    critical = found.exploded or not any(map(is_reward, case.names))
    yield Finding(
        "divergence",
        "critical" if critical else "warning",
        f"The total loss exploded: {text(found.first)} at first, {text(found.last)} at the end."
        if found.exploded
        else f"The total loss diverged: from {text(found.start)} over {text(found.best)} at best"
        f" to {text(found.now)} now.",
        metric=found.metric,
        where=found.rose,
        evidence=_evidence(found),
        advice="Go back to a checkpoint from before the rise and lower the learning rate.",
        blocking=critical,
    )


def convergence(case: Case) -> Iterator[Finding]:
    """First -> now, as a share; a warning where it does not fall or rises again."""
    found = levels(case)
    if case.total is None and case.train:
        there = f" (but {enumerated(case.losses)})" if case.losses else ""
        message = f"No total loss is known{there}: its course was not judged."
        advice = "Log it as `loss`, or name it in a knowledge file (docs/judgement.md)."
        yield Finding("convergence", "info", message, None, None, {"enough": False}, advice)
    elif case.total and found is None and by_rewards(case):
        message = "Training is by rewards, so that its loss need not fall: its course was not judged."
        yield Finding("convergence", "info", message, case.total, None, {"enough": False})
    if found is None or found.diverged:
        return
    if found.points < found.points_to_judge:
        few = f"{_dropped(found)} (only {found.points} points to judge by)."
        yield _finding(found, "info", few, enough=False)
    elif (logged := case.column(found.metric).values) and not any(logged):
        advice = "torch.nan_to_num turns NaN into exactly 0.0, and batches without a target give it, too."
        yield _finding(found, "warning", "The total loss is exactly 0.0 throughout.", advice)
    elif reduction(found.start, found.now) < FALL:
        message = f"The total loss does not fall: {text(found.start)} at the start, {text(found.now)} now."
        yield _finding(found, "warning", message, DOES_NOT_FALL)
    elif is_flat(case, found):
        thirds = f"{text(found.settled)} in the first third, {text(found.late)} in the last one"
        message = f"The total loss hardly moves: {text(found.first)} at first, then {thirds}."
        yield _finding(found, "warning", message, DOES_NOT_FALL)
    elif found.rising_again:
        advice = (
            "Check the learning rate and the gradient norm where it turned; keep the checkpoint from there."
        )
        message = f"The total loss rises again: {text(found.best)} at best, {text(found.now)} now."
        yield _finding(found, "warning", message, advice, found.rose)
    elif found.hump:
        best, top, after = found.hump
        message = f"The total loss rose in between: {text(best)}, then {text(top)}, then {text(after)} again."
        advice = "Check the learning rate, the data and restarts where it rose."
        yield _finding(found, "warning", message, advice, found.hump_at)
    elif bad := case.non_finite(found.metric):
        yield _finding(found, "info", f"{_dropped(found)}{bad}.", enough=False)
    elif negative(case):
        message = f"The total loss went from ~{text(found.first)} to ~{text(found.now)}"
        yield _finding(found, "info", f"{message}, which shows little: it contains a negative cross-entropy.")
    else:
        praise = "" if case.failed else "Healthy convergence: "
        yield _finding(found, "info", f"{praise}{_dropped(found)}.")


def is_flat(case: Case, found: Levels) -> bool:
    """Whether what follows the first points hardly falls, and no validation score rises meanwhile."""
    fraction = case.came.fraction
    early = fraction is not None and fraction < STILL_EARLY and found.points >= MANY_POINTS
    clear = max((HARDLY if early else FALL) * abs(found.settled), found.chance)
    flat = found.settled - found.late < clear and found.points >= found.points_to_judge
    return flat and not learns(case)


def _dropped(found: Levels) -> str:
    """From the first value, or from the level of the first ones where that was below what is now."""
    first = found.first if reduction(found.first, found.now) >= FALL else found.start
    share = reduction(first, found.now)
    change = f"dropped from ~{text(first)} to ~{text(found.now)}, a ~{percent(share)} reduction"
    if share < FALL:
        change = f"went from ~{text(first)} to ~{text(found.now)}"
    return f"the total loss {change}"


def _finding(
    found: Levels, severity: Severity, message: str, advice: str = "", at: str | None = None, **more: object
) -> Finding:
    evidence = {**_evidence(found), **more}
    return Finding("convergence", severity, capital(message), found.metric, at, evidence, advice)


def _evidence(found: Levels) -> dict[str, object]:
    return {
        "first": found.first,
        "start": found.start,
        "best": found.best,
        "now": found.now,
        "reduction": reduction(found.first, found.now),
        "points": found.points,
    }


def plateau(case: Case) -> Iterator[Finding]:
    """The last third's descent against the part before: info, or a warning if it is flat too early."""
    found = levels(case)
    values = case.column(case.total).finite if case.total else []
    if found is None or found.diverged or len(values) < PLATEAU_POINTS or is_flat(case, found):
        return
    cut = len(values) - len(values) // 3
    start, middle, now = head_level(values), tail_level(values[:cut]), tail_level(values)
    early, late = (start - middle) / cut, (middle - now) / (len(values) - cut)
    if early <= 0 or late < 0 or late > SLOWED * early:
        return
    fraction = case.came.fraction
    flat = reduction(middle, now) < FLAT and fraction is not None and fraction < STILL_EARLY
    yield Finding(
        "plateau",
        "warning" if flat else "info",
        f"The descent slowed: {text(start)} -> {text(middle)} before, {text(middle)} -> {text(now)} over the"
        f" last third, {percent(late / early)} of the earlier slope"
        + (f", with {percent(1 - (fraction or 0))} of the training to go." if flat else "."),
        metric=case.total,
        evidence={"start": start, "middle": middle, "now": now, "slope_ratio": late / early},
        advice="Consider whether the remaining epochs are worth their time, or a higher learning rate."
        if flat
        else "",
    )


def spikes(case: Case) -> Iterator[Finding]:
    """Values far above those before them: info for a few, a warning where they come often."""
    found = _spiking(case, case.total) if case.total and levels(case) else {}
    if not found:
        return
    column = case.column(case.total or "")
    at = max(found, key=lambda one: column.values[one] / found[one])
    value, usual, where = column.values[at], found[at], case.where(column.rows[at])
    often = len(found) >= SPIKE_SHARE * len(case.train) or value >= SPIKE_HIGH * usual
    tiny = value < SPIKE_TINY * median(finite(column.values)[:SPIKE_FEWEST])
    alarming = value >= SPIKE_BLOWN * usual or (len(found) >= MANY_SPIKES and often and not tiny)
    yield Finding(
        "spikes",
        "warning" if alarming else "info",
        f"{count(len(found), 'loss spike')}; the highest is {text(value)} at {where},"
        f" where {text(usual)} was usual.",
        metric=case.total,
        where=where,
        evidence={"count": len(found), "highest": value, "usual": usual},
        advice="Look for broken samples and at the gradient norm there; a lower clip value dampens spikes.",
    )


@kept
def _spiking(case: Case, total: str) -> dict[int, float]:
    """Which of the values are spikes, and what was usual there."""
    found, before = dict[int, float](), deque[float](maxlen=SPIKE_WINDOW)
    for at, value in enumerate(case.column(total).values):
        usual = median(before) if len(before) > 1 else 0.0
        height = SPIKE_HEIGHT if len(before) >= SPIKE_FEWEST else SPIKE_BLOWN
        high = 0 < height * usual < value
        if high and value > usual + SPIKE_SPREAD * median(abs(one - usual) for one in before):
            found[at] = usual
        if not math.isnan(value):  # it would spoil the median
            before.append(value)
    return found
