"""Numbers that cannot be right: NaN or Inf, also where a trainer hides it; cross-entropies below zero."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import takewhile

from trainrelay.analysis.case import Case, kept
from trainrelay.analysis.checks.causes import one_per_cause
from trainrelay.analysis.naming import is_loss
from trainrelay.analysis.numbers import finite, percent, text
from trainrelay.progress_lines.not_finite import LOST_AFTER_ITERATIONS, LOST_AFTER_LINES, not_finite
from trainrelay.records import Finding, Phase, Row, Severity

# torch.nan_to_num turns +inf into 3.4e38; a mean over the logging interval may divide it by 1000.
CLAMPED = 1e30
NORM = "grad_norm"
ADVICE = "Go back to the last checkpoint before this place; lower the learning rate, check the data."

RowValue = tuple[Row, float]


@one_per_cause
def non_finite(case: Case) -> Iterator[Finding]:
    """NaN or Inf in a loss or the gradient norm spoils the weights; elsewhere it is a warning."""
    found = {name: bad for name in case.names if name not in case.twins and (bad := case.column(name).bad)}
    losses = frozenset(case.losses)
    for name, bad in found.items():
        yield _non_finite(case, name, bad, "train", critical=name in losses)
    yield from _other_rows(case, set(found))


def _other_rows(case: Case, said: set[str]) -> Iterator[Finding]:
    """Epoch means, if the lines between do not show it: one broken iteration spoils the mean of its
    epoch, and the weights only if it stays so. Validation losses, which do not touch the weights."""
    phases: tuple[Phase, ...] = ("epoch", "val")
    for phase in phases:
        for name, column in case.columns[phase].items():
            judged = name not in case.twins and (phase == "epoch" or name == case.total or is_loss(name))
            if judged and name not in said and (bad := column.bad):
                still = phase == "epoch" and bad[-1][0] is column.rows[-1]
                said.add(name)
                yield _non_finite(case, name, bad, phase, critical=still and name in case.losses)


def _norm(case: Case, bad: list[RowValue], phase: Phase) -> tuple[Severity, str]:
    """The gradient norm: how bad it is and why; a step that the loss scaler skips does no harm."""
    if any(not math.isfinite(row.values.get(loss, 0.0)) for row, _ in bad for loss in case.losses):
        return "critical", ""
    named = _mixed_precision(case)
    last = list(takewhile(lambda point: not math.isfinite(point[1]), reversed(case.points(NORM, phase))))
    if not last:
        likely, limit = ("", "") if named else ("most likely ", " (the log does not show mixed precision)")
        why = "the losses there and the norms afterwards are finite"
        return "info", f": {likely}skipped by the loss scaler{limit}; {why}"
    if (error := case.last_error) and not_finite(None, last[0][1]):
        return "critical", f", and then the trainer failed with `{error.text}`"
    mean = phase == "epoch" or case.log.epochs_only  # a single skipped step spoils it
    covered = last[0][0].step - last[-1][0].step + (case.log.interval or 1)
    few = len(last) < LOST_AFTER_LINES or covered < LOST_AFTER_ITERATIONS
    if named and few and len(last) == 1 < len(bad):
        return "info", ", the last line included: skipped by the loss scaler, as those before"
    if mean or (few and (named or case.medians or len(last) < len(bad))):
        return "warning", ", the last line included: perhaps skipped by the loss scaler"
    return "critical", ", and it stays so to the end"


def _mixed_precision(case: Case) -> bool:
    """Loss scaling makes infinite gradients now and then, and skips those steps."""
    config = case.log.config
    named = any(value and re.match(r"(use_)?(fp16|amp)\b", key) for key, value in config.items())
    return named or "Fp16" in str(config.get("optimizer_config.type"))


def _non_finite(case: Case, name: str, bad: list[RowValue], phase: Phase, *, critical: bool) -> Finding:
    row, value = bad[0]
    more = f" and at {len(bad) - 1} later logged places" if len(bad) > 1 else ""
    severity, why = _norm(case, bad, phase) if name == NORM else ("critical" if critical else "warning", "")
    if name != NORM and not is_loss(name) and name not in case.losses and _is_natural(case, name, phase):
        severity, why = "info", ": it is no loss, and those are finite"
    return Finding(
        "non-finite",
        severity,
        f"{name} is {text(value)} at {case.where(row)}{more}{why}.",
        metric=name,
        where=case.where(row),
        evidence={"value": value, "places": len(bad)},
        advice="" if severity == "info" else ADVICE,
        blocking=severity == "critical",
    )


def _is_natural(case: Case, name: str, phase: Phase) -> bool:
    """Whether a metric is a number in the end, or never was one, while the losses are: of no episode, say."""
    column = case.column(name, phase)
    ends = [value for loss in case.losses for value in case.column(loss, phase).values[-1:]]
    return (math.isfinite(column.values[-1]) or not column.finite) and finite(ends) == ends != []


@one_per_cause
def clamped_infinity(case: Case) -> Iterator[Finding]:
    """A finite value near the largest float: an infinity that nan_to_num clamped."""
    for name in case.losses:
        column = case.column(name)
        if max(map(abs, column.finite), default=0.0) > CLAMPED:
            value = next(value for value in column.finite if abs(value) > CLAMPED)
            row = column.rows[column.values.index(value)]
            yield Finding(
                "clamped-infinity",
                "critical",
                f"{name} is {value:.1e} at {case.where(row)}: an infinity clamped by torch.nan_to_num.",
                metric=name,
                where=case.where(row),
                evidence={"value": value},
                advice=ADVICE,
                blocking=True,
            )


PHASES: tuple[Phase, ...] = ("val", "epoch", "train")


def negative_cross_entropy(case: Case) -> Iterator[Finding]:
    """One warning for all terms that are known, or named, as cross-entropies and are negative."""
    values = negative(case)
    if not values:
        return
    name = min(values, key=lambda one: (len(one), one))
    found = values[name]
    share = sum(value < 0 for value in found) / len(found)
    others = (
        f", and so {'is' if len(values) == 2 else 'are'} {len(values) - 1} more" if len(values) > 1 else ""
    )
    yield Finding(
        "negative-cross-entropy",
        "warning",
        f"{name} is negative in {percent(share)} of its values (lowest {text(min(found))}, now"
        f" {text(found[-1])}){others}. A correct cross-entropy cannot be negative: this is like an NLL"
        " (negative log-likelihood) logged as a log probability. The likely cause is an NLL over raw logits,"
        " without log_softmax (it is the negated logit of the right class, and has no lower bound), or a lost"
        " sign.",
        metric=name,
        evidence={"lowest": min(found), "now": found[-1], "share": share, "terms": list(values)},
        advice="Put log_softmax before nll_loss (or use cross_entropy on the logits), and check the sign."
        " Until then neither this term nor the total shows whether the classes are learnt: judge by the"
        " validation metrics.",
    )


@kept
def negative(case: Case) -> dict[str, list[float]]:
    """The cross-entropies that are below zero anywhere, with all their values, those of training last."""
    found = {
        name: finite([value for phase in PHASES for _, value in case.points(name, phase)])
        for name in cross_entropies(case)
    }
    return {name: values for name, values in found.items() if min(values, default=0.0) < 0}


def cross_entropies(case: Case) -> list[str]:
    """The terms that a correct trainer never logs below zero."""
    return [name for name, one in case.meanings.items() if one.cross_entropy and not one.negative]
