"""What people call the groups of metrics and the checks, and which evidence is worth their time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainrelay.records import Finding

GROUPS = {
    "track": "Tracking",
    "map": "Map",
    "motion": "Motion",
    "occ": "Occupancy",
    "planning": "Planning",
    "": "Component",
    "other": "Component",
}
OTHER_TITLES = {"Quality": "Prediction quality"}
CHECKS = {
    "progress": "Progress",
    "convergence": "Convergence",
    "divergence": "Divergence",
    "components": "Components",
    "negative-cross-entropy": "Negative cross-entropy",
    "balance": "Balance of the losses",
    "auxiliary": "Auxiliary losses",
    "scaling": "Scaled and unscaled losses",
    "validation": "Validation",
    "validation-metric": "Validation metrics",
    "lost-term": "Lost term",
    "zero-by-design": "Zero by design",
    "non-finite": "Non-finite numbers",
    "clamped-infinity": "Clamped infinity",
    "grad-norm": "Gradient norm",
    "learning-rate": "Learning rate",
    "plateau": "Loss plateau",
    "spikes": "Loss spikes",
    "sum-identity": "Sum of the components",
    "resume": "Resume",
    "initial-checkpoint": "Initial checkpoint",
    "partial-load": "Partly loaded weights",
    "redone": "Redone iterations",
    "backend": "Backend",
    "attempts": "Attempts",
    "log": "Log",
}
# Evidence that names the component once more, which message and metric have done.
NAMING = frozenset({"group", "family", "label", "members"})


LAYERS = "Losses of the decoder layers"
VALIDATION = "Validation metrics"
OTHERS = "Other metrics"


def group_title(group: str) -> str:
    """The title of a group, as in "Tracking losses"."""
    return OTHER_TITLES.get(group) or f"{GROUPS.get(group, group)} losses"


def check_title(check: str) -> str:
    """The title of a check; an unknown one goes by its own name."""
    return CHECKS.get(check, check)


def shown_evidence(finding: Finding) -> Mapping[str, Any]:
    """The evidence without what only repeats which component is meant."""
    hidden = NAMING if finding.check == "components" else frozenset[str]()
    return {key: item for key, item in finding.evidence.items() if key not in hidden}
