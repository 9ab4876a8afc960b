"""Cross-entropies below zero, which a correct one never is."""

from __future__ import annotations

from collections.abc import Iterator

from trainrelay.analysis.case import Case
from trainrelay.analysis.numbers import finite, percent, text
from trainrelay.records import Finding, Phase

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
