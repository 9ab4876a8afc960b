"""The gradient norm (logged before clipping) against the clip value and against itself."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from trainrelay.analysis.case import Case
from trainrelay.analysis.numbers import head_level, percent, quantile, tail_level, text
from trainrelay.records import Finding, Severity

EXPLODED = 10.0  # times its level before: meant to be above how single norms vary
VANISHED = 1e-3  # of its level before: meant to be below what a falling loss does
POINTS_TO_JUDGE = 10  # as many lines as `Case.points_to_judge` asks of a loss
EVERY_STEP_CLIPPED = (
    "With every step clipped, the clip value sets the step's length; common for UniAD, no need to act."
)


def grad_norm(case: Case) -> Iterator[Finding]:
    """One finding: where it settled, which share of the steps was clipped, and whether it runs away."""
    values = case.column("grad_norm").finite
    if not values:
        return
    late = values[len(values) // 2 :]
    low, high = quantile(late, 0.1), quantile(late, 0.9)
    severity, course, advice = _course(values, failed=case.failed)
    clip = _clip(case)
    share = sum(value > clip for value in values) / len(values) if clip else None
    yield Finding(
        "grad-norm",
        severity,
        f"The gradient norm settled around {_range(low, high)}{course}{_clipped(clip, share)}.",
        metric="grad_norm",
        evidence={"low": low, "high": high, "now": tail_level(values), "clip": clip, "clipped": share},
        advice=advice or (EVERY_STEP_CLIPPED if share == 1 else ""),
    )


def _course(values: list[float], *, failed: bool) -> tuple[Severity, str, str]:
    half, now = values[: max(1, len(values) // 2)], tail_level(values)
    low, high = sorted((head_level(half), median(half)))  # it may begin high, and settle
    if len(values) >= POINTS_TO_JUDGE and now > EXPLODED * low:
        advice = "Lower the learning rate or the clip value."
        return "warning", f", but grew from {text(low)} to {text(now)}", advice
    if len(values) >= POINTS_TO_JUDGE and now < VANISHED * high:
        advice = "Check that the loss still reaches the weights and that none of them is frozen by mistake."
        return "warning", f", but vanished from {text(high)} to {text(now)}", advice
    return "info", "" if failed else ", with no sign of explosion or vanishing", ""


def _range(low: float, high: float) -> str:
    return text(low) if text(low) == text(high) else f"{text(low)}-{text(high)}"


def _clip(case: Case) -> float | None:
    config = case.log.config
    value = config.get("optimizer_config.grad_clip.max_norm", config.get("clip_max_norm"))
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _clipped(clip: float | None, share: float | None) -> str:
    if clip is None or share is None:
        return ""
    steps = "every logged step was" if share == 1 else f"{percent(share)} of the logged steps were"
    return f"; {steps} clipped at {text(clip)}"
