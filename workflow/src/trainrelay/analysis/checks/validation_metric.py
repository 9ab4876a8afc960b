"""Validation metrics that get worse, above all while the loss falls, or never move (docs/judgement.md)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from trainrelay.analysis.case import Case, Means, kept
from trainrelay.analysis.knowledge.model import matching
from trainrelay.analysis.naming import earlier_layers, is_loss, is_reward, overall_score
from trainrelay.analysis.numbers import (
    FALL,
    JITTERS,
    LATER_EVALUATIONS,
    MANY_EVALUATIONS,
    best_level,
    clearly_worse,
    head_level,
    reduction,
    tail_level,
    text,
    wobble,
)
from trainrelay.records import Finding, Severity
from trainrelay.text import count

WORSE = 0.1  # of its best: meant to be above how evaluations differ by chance
ZERO = 0.0005  # scores are printed with three digits
MOVED = 0.02  # from its first third to its last one, of a score that moves ...
MOVING = 5  # ... in so many evaluations, ...
STEADILY = 0.9  # or of whose pairs so many rise, where they are few
LEFT = 2 / 3  # of what is wrong at first: a score near its top that loses more moves
LEARNED = 0.1  # above its first value: a score that rose so shows that something is learned
EVALUATIONS = 3  # with fewer, equal ones may be chance
LOST = 0.75  # of what a reward gained
HALF = 0.5  # of the training: before, a score may still be 0
# Overall scores by their usual names, with a threshold or not; those of single classes are left alone.
_KIND = r"((bbox|segm|test|val|mean|avg|average|overall|top\d)_)?[ma]?"
_UP = re.compile(
    rf"{_KIND}(pck|map|ap|ar|acc|accuracy|iou|recall|nds|mota|dice|dsc|f1|auc|auroc|top(?=\d))"
    r"([@ ._]*[\d.]+(:[\d.]+)?)?(_(mean|avg|score|coef\w{0,7}))?( ?\([a-z]\))?",
    re.IGNORECASE,
)
# Not of one size or threshold, which may have no objects.
_OVERALL = re.compile(rf"{_KIND}(ap|iou|acc|accuracy|pck|nds|dice|dsc|f1)1?", re.IGNORECASE)
# The cardinality error has no gradient: it counts, and wobbles.
_DOWN = re.compile(r"(?!cardinality)(\w+_)?error", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MetricHistory:
    """A validation metric; `sign` is 1 where up is better, -1 where down is."""

    name: str
    points: Means
    sign: int

    @property
    def best(self) -> int:
        """The index of the best value, the first of equals."""
        return max(range(len(self.points)), key=lambda at: (self.sign * self.points[at][1], -at))

    @property
    def worse(self) -> float:
        """Which share of its best the metric lost since."""
        return self.sign * reduction(self.points[self.best][1], self.points[-1][1])

    @property
    def has_got_worse(self) -> bool:
        later = len(self.points) - 1 - self.best
        clear = clearly_worse([value for _, value in self.points], self.sign)
        return later >= LATER_EVALUATIONS and self.worse > WORSE and clear

    def stuck(self, fraction: float | None) -> bool:
        """Whether it shows that nothing is learned."""
        values, late = {value for _, value in self.points}, fraction is None or fraction >= HALF
        if self.nothing:
            return late or len(self.points) >= EVALUATIONS
        same = len(values) == 1 and len(self.points) >= EVALUATIONS and not values & {1.0, 100.0}
        return same or self.still

    @property
    def still(self) -> bool:
        """Whether it neither rises from its first evaluations to its last ones, nor steadily."""
        values = [value for _, value in self.points]
        top = 1.0 if max(values) <= 1 else 100.0
        nearer = max(values) <= top and top - max(values) < LEFT * (top - values[0])
        if len(values) < MOVING or max(values) > (1 + LEARNED) * values[0] or nearer:
            return False
        third = len(values) // 3
        risen = median(values[-third:]) > (1 + MOVED) * median(values[:third])
        if len(values) < MANY_EVALUATIONS:
            up = [before < after for before, after in combinations(values, 2)]
            by = values[-1] - values[0] > MOVED / 2 * abs(values[0])
            risen = risen or (by and sum(up) >= STEADILY * len(up))
        return not risen and min(values) > values[0] * (1 - WORSE)

    @property
    def nothing(self) -> bool:
        """Whether it is 0 as far as scores are printed."""
        return max(abs(value) for _, value in self.points) < ZERO


def validation_metric(case: Case) -> Iterator[Finding]:
    """A warning if the first metric got worse, one for those that never moved; the values of the others."""
    found, fraction = _courses(case), case.came.fraction
    worse = [course for course in found if course.has_got_worse and not course.nothing]
    if worse:
        first = overall_score([course.name for course in found if course.sign > 0] or [worse[0].name])
        lead = next((course for course in worse if course.name == first), None)
        yield _worse(case, lead or worse[0], len(worse) - 1, "warning" if lead else "info")
    stuck = [course for course in found if course.sign > 0 and course.stuck(fraction)]
    nothing = [one for one in stuck if one.nothing and _OVERALL.fullmatch(one.name.rpartition("/")[2])]
    if stuck := stuck if len(stuck) == sum(course.sign > 0 for course in found) else nothing:
        # Scores of a model that was trained before may move little.
        trained_before = case.expectation.initial_checkpoint and not nothing
        yield _stuck(stuck, "info" if trained_before else "warning")
    fine = [course for course in found if not course.has_got_worse and course not in stuck]
    if fine:
        yield _fine(case, sorted(fine, key=lambda one: -one.sign))


def measured(case: Case, group: str) -> bool:
    """Whether a score rises that measures what the losses of a group train."""
    pattern = case.knowledge.measured_by
    return bool(pattern) and group in case.knowledge.balance and learns(case, pattern)


def learns(case: Case, pattern: str = ".*") -> bool:
    """Whether a score for which up is better rose clearly above its first value."""
    scores = (one for one in _courses(case) if one.sign > 0 and matching(pattern, one.name))
    return any(one.points[one.best][1] > (1 + LEARNED) * max(0.0, one.points[0][1]) for one in scores)


@kept
def by_rewards(case: Case) -> bool:
    """Whether a reward is trained for that did not lose most of what it had gained: no loss has to fall."""
    return any(is_reward(name) and not _lost(case.column(name).finite) for name in case.names)


def _lost(rewards: list[float]) -> bool:
    worse = [-reward for reward in rewards]
    if len(worse) < MANY_EVALUATIONS:
        return False
    start, best, now = head_level(worse), best_level(worse), tail_level(worse)
    return now - best > max(LOST * (start - best), JITTERS * wobble(worse))


def direction(case: Case, name: str) -> int | None:
    """1 where up is better, -1 where down is; None if neither the knowledge file nor the name shows it.

    Losses have their own checks, and the predictions of earlier decoder layers are not used.
    """
    if is_loss(name) or name in case.twins or earlier_layers(name, case.columns["val"]):
        return None
    known = case.knowledge.known(name)
    if known is not None:
        return None if "cardinality" in name else {"up": 1, "down": -1, None: None}[known.direction]
    own = name.rpartition("/")[2]
    return 1 if _UP.fullmatch(own) else -1 if _DOWN.fullmatch(own) else None


def _course(case: Case, name: str) -> MetricHistory | None:
    sign = direction(case, name)
    points = [(at, value) for at, value in case.validation_means(name) if math.isfinite(value)]
    return MetricHistory(name, points, sign) if sign is not None and points else None


@kept
def _courses(case: Case) -> list[MetricHistory]:
    return [course for name in case.columns["val"] if (course := _course(case, name))]


def _stuck(found: list[MetricHistory], severity: Severity) -> Finding:
    one, more = found[0], f", as in {count(len(found) - 1, 'other metric')}" if len(found) > 1 else ""
    value = one.points[-1][1]
    what = "nothing is found" if one.nothing else "it hardly moves"
    times = f"all of {len(one.points)} evaluations" if len(one.points) > 1 else "its only evaluation"
    moves = f"is {text(value)}" if one.nothing else f"went {text(one.points[0][1])} -> {text(value)}"
    return Finding(
        "validation-metric",
        severity,
        f"{one.name} {moves} in {times}{more}: {what}.",
        metric=one.name,
        evidence={"value": value, "evaluations": len(one.points), "metrics": [each.name for each in found]},
        advice="Look at predictions of the newest checkpoint: check that they are more than background, that"
        " labels and classes fit the evaluation, and that it is the trained weights that are evaluated.",
    )


def _worse(case: Case, one: MetricHistory, more: int, severity: Severity) -> Finding:
    (at, best), now = one.points[one.best], one.points[-1][1]
    falls = _loss_since(case, at)
    while_loss = f", while the {falls[0]} fell from {text(falls[1])} to {text(falls[2])}" if falls else ""
    return Finding(
        "validation-metric",
        severity,
        f"{one.name} got worse: {text(best)} at {case.unit} {at}, its best, {text(now)} now{while_loss}"
        f"{f'; so did {more} more' if more else ''}.",
        metric=one.name,
        where=f"{case.unit} {at}",
        evidence={"best": best, "best_at": at, "now": now, "loss_falls": falls is not None},
        advice="Choose the checkpoint by this metric, not by the loss; where the loss still falls, it no"
        " longer measures what matters (overfitting, or terms that pull apart).",
    )


def _loss_since(case: Case, at: int) -> tuple[str, float, float] | None:
    """The validation loss, else the training loss, where it fell since then."""
    if case.total is None:
        return None
    means = {
        "validation loss": case.validation_means(case.total),
        "training loss": case.epoch_means(case.total),
    }
    for name, points in means.items():
        since = [value for place, value in points if place >= at and math.isfinite(value)]
        if len(since) > 1:
            return (name, since[0], since[-1]) if reduction(since[0], since[-1]) >= FALL else None
    return None


def _fine(case: Case, found: list[MetricHistory]) -> Finding:
    said = [f"{one.name} {text(one.points[0][1])} -> {text(one.points[-1][1])}" for one in found[:3]]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    enough = max(len(one.points) for one in found) > LATER_EVALUATIONS
    evidence = {**{one.name: one.points[-1][1] for one in found[:3]}, "enough": enough}
    message = f"{'' if case.failed else 'Not behind their best: '}{', '.join(said)}{more}."
    return Finding("validation-metric", "info", message, found[0].name, None, evidence)
