"""Numbers that left the finite world, also where the trainer hides it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from trainrelay.diagnose.case import Case
from trainrelay.diagnose.numbers import text
from trainrelay.records import Finding, Phase, Row

# torch.nan_to_num turns +inf into 3.4e38; a mean over the logging interval may divide it by 1000.
CLAMPED = 1e30


def non_finite(case: Case) -> Iterator[Finding]:
    """NaN or Inf in a loss or the gradient norm ends the use of the weights; elsewhere it is a warning."""
    critical, said = {*case.losses, "grad_norm"}, set()
    for name in case.names:
        bad = _bad(case, name, "train")
        if not bad or name in case.twins:
            continue
        said.add(name)
        by_design = name == "grad_norm" and _mixed_precision(case) and not _nan(bad)
        yield _non_finite(case, name, bad, critical=name in critical and not by_design)
    yield from _other_rows(case, said)


def _other_rows(case: Case, said: set[str]) -> Iterator[Finding]:
    """Epoch means, where the lines between do not show it: one broken iteration spoils the mean of its
    epoch, and the weights only if it stays so. Validation losses, which do not touch the weights."""
    phases: tuple[Phase, ...] = ("epoch", "val")
    for phase in phases:
        for name in case.log.metrics(phase):
            bad = _bad(case, name, phase) if _judged(case, name, phase) and name not in said else []
            if bad:
                still = phase == "epoch" and bad[-1][0] is case.points(name, phase)[-1][0]
                said.add(name)
                yield _non_finite(case, name, bad, critical=still and name in case.losses)


def _judged(case: Case, name: str, phase: Phase) -> bool:
    return name not in case.twins and (phase == "epoch" or name == case.total or "loss" in name)


def _bad(case: Case, name: str, phase: Phase) -> list[tuple[Row, float]]:
    return [(row, value) for row, value in case.points(name, phase) if not math.isfinite(value)]


def _nan(bad: list[tuple[Row, float]]) -> bool:
    return any(math.isnan(value) for _, value in bad)


def _mixed_precision(case: Case) -> bool:
    """Loss scaling makes infinite gradients now and then, and skips those steps."""
    config = case.log.config
    return "Fp16" in str(config.get("optimizer_config.type")) or any(key.startswith("fp16") for key in config)


def _non_finite(case: Case, name: str, bad: list[tuple[Row, float]], critical: bool) -> Finding:
    row, value = bad[0]
    return Finding(
        "non-finite",
        "critical" if critical else "warning",
        f"{name} is {text(value)} at {case.where(row)}"
        + (f" and at {len(bad) - 1} later logged places." if len(bad) > 1 else "."),
        metric=name,
        where=case.where(row),
        evidence={"value": value, "places": len(bad)},
        advice="Go back to the last checkpoint before this place; lower the learning rate, check the data.",
        blocking=critical,
    )


def clamped_infinity(case: Case) -> Iterator[Finding]:
    """A finite value near the largest float: an infinity that nan_to_num clamped."""
    for name in case.losses:
        for row, value in case.points(name):
            if math.isfinite(value) and abs(value) > CLAMPED:
                yield _clamped(case, name, row, value)
                break


def _clamped(case: Case, name: str, row: Row, value: float) -> Finding:
    return Finding(
        "clamped-infinity",
        "critical",
        f"{name} is {value:.1e} at {case.where(row)}: an infinity clamped by torch.nan_to_num.",
        metric=name,
        where=case.where(row),
        evidence={"value": value},
        advice="Go back to the last checkpoint before this place; lower the learning rate, check the data.",
        blocking=True,
    )
