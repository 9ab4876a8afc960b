"""The learning rate against the schedule of the trainer config."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trainrelay.analysis.case import Case
from trainrelay.analysis.numbers import text
from trainrelay.records import Finding, Row


@dataclass(frozen=True, slots=True)
class Length:
    """How long the schedule is; `iters_per_epoch` as far as the log says it."""

    epochs: int | None
    iters: int | None
    iters_per_epoch: int | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """`lr_config` of a trainer config, with a policy that `regular` knows."""

    policy: str
    base: float
    length: Length
    options: Mapping[str, Any]

    def at(self, epoch: int, iteration: int) -> float | None:
        """The rate in use at a 0-based epoch and a 0-based iteration over the whole run."""
        regular = self._regular(epoch if self._by_epoch else iteration)
        warmup_iters = self._warmup_iters()
        if regular is None or not self.options.get("warmup") or iteration >= warmup_iters:
            return regular
        return self._warm(regular, iteration / warmup_iters)

    @property
    def _by_epoch(self) -> bool:
        return bool(self.options.get("by_epoch", True))

    def _number(self, key: str, default: float) -> float:
        value = self.options.get(key)
        return float(value) if isinstance(value, int | float) else default

    def _warmup_iters(self) -> float:
        iters = self._number("warmup_iters", 0)
        return iters * (self.length.iters_per_epoch or 0) if self.options.get("warmup_by_epoch") else iters

    def _warm(self, regular: float, share: float) -> float | None:
        ratio = self._number("warmup_ratio", 0.1)
        match self.options["warmup"]:
            case "constant":
                return regular * ratio
            case "linear":
                return regular * (1 - (1 - share) * (1 - ratio))
            case "exp":
                return regular * float(ratio ** (1 - share))
        return None

    def _regular(self, at: int) -> float | None:
        match self.policy:
            case "fixed":
                return self.base
            case "step":
                return self._step(at)
            case "exp":
                return self.base * float(self._number("gamma", 1.0) ** at)
            case "poly" | "cosineannealing":
                return self._over_the_run(at)
        return None

    def _step(self, at: int) -> float:
        steps = self.options.get("step")
        marks = [mark for mark in steps if isinstance(mark, int)] if isinstance(steps, list | tuple) else []
        drops = at // steps if isinstance(steps, int) and steps else sum(at >= mark for mark in marks)
        return max(self.base * float(self._number("gamma", 0.1) ** drops), self._number("min_lr", 0.0))

    def _over_the_run(self, at: int) -> float | None:
        end = self.length.epochs if self._by_epoch else self.length.iters
        if not end:
            return None
        share = min(1.0, at / end)
        if self.policy == "poly":
            low = self._number("min_lr", 0.0)
            return (self.base - low) * float((1 - share) ** self._number("power", 1.0)) + low
        low = self._number("min_lr", self.base * self._number("min_lr_ratio", 0.0))
        return low + 0.5 * (self.base - low) * (math.cos(math.pi * share) + 1)


POLICIES = ("fixed", "step", "exp", "poly", "cosineannealing")


def schedule(config: Mapping[str, Any], base: float, length: Length) -> Schedule | None:
    """The schedule of a flat trainer config, or None where its policy is not one of POLICIES."""
    options = {
        key.removeprefix("lr_config."): value for key, value in config.items() if key.startswith("lr_config.")
    }
    policy = str(options.get("policy", "")).lower()
    return Schedule(policy, base, length, options) if policy in POLICIES else None


# How rates are printed: in words, half of the last decimal and a little, and what is lost of their digits.
ROUNDED = {
    "mmcv-json": ("JSON logs round them to five decimals", 6e-6, 0.0),
    "metriclogger-text": ("it prints six decimals", 6e-7, 1e-3),
}
OTHERWISE = ("", 1e-12, 1e-3)  # text logs print four significant digits
AT_ONCE = 0.5  # of the rate before
WORKING = 0.05  # of its peak: below, a smooth schedule ends
RISEN = 2.0  # times the rate before a resume: said, for the epochs may have been raised
ROWS_TO_MIND = 2  # a single one may be a line that was cut

# Arguments of timm, torchvision and the like; with one of them the rate follows another rule than DETR's.
OTHER_SCHEDULES = ("sched", "scheduler", "lr_scheduler", "warmup_epochs", "warmup_iters", "lr_drop_epochs")

Mismatch = tuple[Row, float, float]  # where, expected, seen


def learning_rate(case: Case) -> Iterator[Finding]:
    """Where it peaked and where it is; a warning if it is not what the config sets."""
    points = case.points("lr")
    if not points:
        return
    if all(seen == 0.0 for _, seen in points):
        yield _rounded_away(case)
        return
    # The config that is known is the last start's: raised epochs had another schedule before.
    judged = [point for point in points if point[0].segment == points[-1][0].segment]
    schedules = _stepped(case, judged) if case.from_zero else _schedules(case)
    mismatches = min((_mismatches(case, judged, one) for one in schedules), key=len, default=[])
    if len(mismatches) >= ROWS_TO_MIND:
        yield _mismatch(case, mismatches, len(judged))
    elif not schedules and (again := _warmed_again(points)):
        yield _again(case, *again[0])
    else:
        yield _course(case, points, schedules[0] if schedules else None)


def _rounded_away(case: Case) -> Finding:
    why, _, _ = ROUNDED.get(case.log.format, OTHERWISE)
    other = "Analyze the trainer's other log (text or JSON) to have the schedule checked."
    return Finding(
        "learning-rate",
        "info",
        f"Every learning rate in this log is 0.0{f': {why}' if why else ''}.",
        metric="lr",
        advice=other if why else "Check that something is trained at all.",
    )


def _schedules(case: Case) -> list[Schedule]:
    """One per rate that the first parameter group may have: the log shows only that group's."""
    config = {"lr_config.by_epoch": not case.by_iteration, **case.log.config}  # as its runner sets it
    base, of_data = config.get("optimizer.lr"), case.by_iteration and config["lr_config.by_epoch"]
    if not isinstance(base, int | float) or "optimizer.constructor" in config or of_data:
        return []
    factors = [
        value for key, value in config.items() if key.startswith("optimizer.") and key.endswith("lr_mult")
    ]
    rates = [base, *(base * factor for factor in factors if isinstance(factor, int | float))]
    found = (schedule(config, float(rate), _length(case)) for rate in dict.fromkeys(rates))
    return [one for one in found if one is not None]


def _stepped(case: Case, points: list[tuple[Row, float]]) -> list[Schedule]:
    """DETR's rule, a tenth every `lr_drop` epochs, unless the log contradicts it.

    Empty where the log starts at another rate than `lr` (scaled by the batch size), where the trainer's
    arguments know of another schedule, or where the rate goes another way from the start.
    """
    config, base, drop = case.log.config, case.log.config.get("lr"), case.log.config.get("lr_drop")
    sure = isinstance(base, int | float) and isinstance(drop, int) and drop > 0
    if not sure or any(config.get(name) for name in OTHER_SCHEDULES):
        return []
    plan = Schedule("step", float(base or 0), _length(case), {"step": drop, "gamma": 0.1})
    row, first = points[0]
    right = abs(first - (plan.at(row.epoch - 1, 0) or 0)) <= _tolerance(case, first)
    return [plan] if right else []


def _length(case: Case) -> Length:
    """The length that the trainer was given, which the schedule follows."""
    length, epochs = case.log.iters_per_epoch, case.log.max_epochs
    if case.by_iteration:
        return Length(None, length, None)
    return Length(epochs, epochs * length if epochs and length else None, length)


def _mismatches(case: Case, points: list[tuple[Row, float]], plan: Schedule) -> list[Mismatch]:
    """A row is logged after its iteration, whose rate was set before it: hence the step before."""
    found: list[Mismatch] = []
    for row, seen in points:
        expected = plan.at(row.epoch - 1, row.step - 1)
        if expected is not None and abs(seen - expected) > _tolerance(case, expected):
            found.append((row, expected, seen))
    return found


def _tolerance(case: Case, expected: float) -> float:
    _, absolute, relative = ROUNDED.get(case.log.format, OTHERWISE)
    return absolute + relative * abs(expected)


def _mismatch(case: Case, mismatches: list[Mismatch], points: int) -> Finding:
    row, expected, seen = mismatches[0]
    keys = "lr, lr_drop" if case.from_zero else "lr_config, optimizer.lr"
    return Finding(
        "learning-rate",
        "warning",
        f"The learning rate is {seen:.3e} at {case.where(row)}, where the config's schedule gives"
        f" {expected:.3e} ({len(mismatches)} of {points} logged values differ).",
        metric="lr",
        where=case.where(row),
        evidence={"expected": expected, "seen": seen, "differing": len(mismatches), "points": points},
        advice=f"Compare {keys} and the number of epochs with what was meant.",
    )


def _warmed_again(points: list[tuple[Row, float]]) -> list[tuple[Row, float]]:
    """Where it fell to less than half at once and then climbed, and the rate before: once, or only where the
    training was resumed. Cycles do so often."""
    found, resumed, peak = list[tuple[Row, float]](), True, 0.0
    for (old, before), (row, low), (_, more), (_, most) in zip(
        points, points[1:], points[2:], points[3:], strict=False
    ):
        again, peak = old.segment != row.segment, max(peak, before)
        works = again or before > WORKING * peak
        if works and low < AT_ONCE * before and low < more < most and 2 * low < most:
            found.append((row, before))
            resumed &= again
    return found if resumed or len(found) == 1 else []


def _again(case: Case, row: Row, before: float) -> Finding:
    where = case.where(row)
    message = f"The learning rate is back in a warm-up from {where} on, after {text(before)}."
    advice = "See whether the schedule was restored with the weights when the training was resumed."
    return Finding("learning-rate", "warning", message, "lr", where, {"before": before}, advice)


def _course(case: Case, points: list[tuple[Row, float]], plan: Schedule | None) -> Finding:
    peak_row, peak = max(points, key=lambda point: point[1])
    now = points[-1][1]
    as_configured = f", as configured ({_named(plan)})" if plan else ""
    rises = [
        f"; it rose from {text(before)} to {text(after)} at {case.where(row)}, where it was resumed"
        for (old, before), (row, after) in pairwise(points)
        if row.segment != old.segment and after > RISEN * before > 0
    ]
    return Finding(
        "learning-rate",
        "info",
        f"The learning rate peaked at {text(peak)} at {case.where(peak_row)}"
        f" and is {text(now)} now{as_configured}{'' if plan else ''.join(rises[-1:])}.",
        metric="lr",
        where=case.where(peak_row),
        evidence={"peak": peak, "now": now, "policy": plan.policy if plan else None},
    )


def _named(plan: Schedule) -> str:
    names = {"cosineannealing": "CosineAnnealing", "fixed": "constant"}
    warmup = plan.options.get("warmup")
    after = f" after {warmup} warm-up over {plan.options.get('warmup_iters')} iterations" if warmup else ""
    return f"{names.get(plan.policy, plan.policy)}{after}"
