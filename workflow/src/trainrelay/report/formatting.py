"""Numbers, times and outside text as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from trainrelay.records import Analysis, Finding, MetricSummary
from trainrelay.text import printable_lines

# UniAD-like trainers pass losses through nan_to_num, which turns +inf into float32's largest number.
FLOAT32_INF = 3.4e38
LONGEST_VALUE = 300  # characters of one piece of evidence: about three lines of the page
CHECKS = {  # titles that are not the check's name in words
    "negative-cross-entropy": "Negative cross-entropy",
    "balance": "Balance of the losses",
    "auxiliary": "Auxiliary losses",
    "scaling": "Scaled and unscaled losses",
    "validation-metric": "Validation metrics",
    "non-finite": "Non-finite numbers",
    "grad-norm": "Gradient norm",
    "plateau": "Loss plateau",
    "spikes": "Loss spikes",
    "sum-identity": "Sum of the components",
    "partial-load": "Partly loaded weights",
    "redone": "Redone iterations",
    "gaps": "Missing logs",
}

_ANSI = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")


def clean(text: str) -> str:
    """Outside text without terminal colours, printable line by line."""
    return printable_lines(_ANSI.sub("", text.replace("\r\n", "\n")))


def is_usable(value: float) -> bool:
    """Whether a value can be drawn: finite, and not an infinity that nan_to_num has disguised."""
    return math.isfinite(value) and abs(value) < FLOAT32_INF


def number(value: float) -> str:
    """A loss or a norm: two decimals where that says enough, more digits for small values."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    size = abs(value)
    if size == 0:
        return "0.0"
    if size >= 1e5 or size < 1e-3:
        return scientific(value)
    said = f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"
    return said.removesuffix(".00") if size >= 1000 else said


def scientific(value: float) -> str:
    """Compact scientific notation, as in "2e-4"."""
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def learning_rate(value: float) -> str:
    """A learning rate as papers write it."""
    return number(value) if not is_usable(value) or value == 0 else scientific(value)


def relative_change(first: float, last: float) -> float | None:
    """(last - first) / first; None where it says nothing (zero, a change of sign, not finite)."""
    if not (is_usable(first) and is_usable(last)) or first <= 0 or last < 0:
        return None
    fraction = (last - first) / first
    return fraction if is_usable(fraction) else None


def change(summary: MetricSummary) -> str:
    """The change from first to last as a signed whole percentage, or nothing where it says nothing."""
    fraction = relative_change(summary.first, summary.last)
    if fraction is None:
        return ""
    return f"{fraction * 100:+.0f}%".replace("-", "−") if round(fraction * 100) else "0%"


def place(analysis: Analysis) -> str:
    """How far a log goes, as in "epoch 9, iter 2310/3517"."""
    progress = analysis.progress
    of = f"/{progress.iters_per_epoch}" if progress.iters_per_epoch else ""
    iteration = "" if analysis.epochs_only else f"iter {progress.iteration}{of}"
    epoch = "" if analysis.by_iteration else f"epoch {progress.epoch}"
    return ", ".join(filter(None, [epoch, iteration]))


def duration(seconds: float) -> str:
    """The two largest units of a duration, as in "5 h 46 min"."""
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    rest = round(seconds)
    parts: list[str] = []
    for name, size in units:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {name}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def utc(seconds: float) -> str:
    """A Unix time in UTC, to the minute."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def file_size(size: float) -> str:
    """Bytes in the largest binary unit that fits."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def gpu_hours(hours: float) -> str:
    """GPU-hours with one decimal where that matters."""
    if hours >= 100:
        return f"{hours:.0f}"
    return f"{hours:.1f}" if hours >= 0.1 or hours == 0 else f"{hours:.3f}"


def value(thing: Any) -> str:
    """Evidence of any type as short text."""
    if isinstance(thing, bool) or thing is None:
        return {True: "yes", False: "no", None: "none"}[thing]
    if isinstance(thing, float):
        return f"{thing:.4g}"
    if isinstance(thing, Mapping):
        return _shortened(pairs(thing))
    if isinstance(thing, Iterable) and not isinstance(thing, str | bytes):
        return _shortened(", ".join(value(item) for item in thing))
    return _shortened(str(thing))


def pairs(mapping: Mapping[str, Any]) -> str:
    """A mapping as "key = value; key = value"."""
    return "; ".join(f"{key} = {value(item)}" for key, item in mapping.items())


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def sentence(text: str) -> str:
    """The text with a full stop, unless it ends already."""
    text = text.strip()
    return text if not text or text[-1] in ".!?:…" else text + "."


def capital(text: str) -> str:
    """The text with a capital at its start, unless it starts with the name of something."""
    first = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if first.rstrip(",;:").isalpha() else text


def check_title(check: str) -> str:
    """The title of a check, as in "Learning rate" for learning-rate."""
    return CHECKS.get(check) or capital(check.replace("-", " "))


def shown_evidence(finding: Finding) -> Mapping[str, Any]:
    """The evidence without what only names the component again, which message and metric have done."""
    hidden = {"group", "family", "label", "members"} if finding.check == "components" else set[str]()
    return {key: item for key, item in finding.evidence.items() if key not in hidden}
