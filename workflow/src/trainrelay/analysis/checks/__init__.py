"""One function per check. The order is that of a report: what ends a training comes first, in FATAL."""

from collections.abc import Mapping
from importlib import resources

import yaml

from trainrelay.analysis.case import Check
from trainrelay.analysis.checks.auxiliary import auxiliary, balance
from trainrelay.analysis.checks.components import components, lost_terms, slow_patterns
from trainrelay.analysis.checks.convergence import convergence, divergence, plateau, spikes
from trainrelay.analysis.checks.finiteness import clamped_infinity, negative_cross_entropy, non_finite
from trainrelay.analysis.checks.grad_norm import grad_norm
from trainrelay.analysis.checks.learning_rate import learning_rate
from trainrelay.analysis.checks.progress import attempts, backend, progress
from trainrelay.analysis.checks.resume import gaps, initial_checkpoint, partial_load, redone, resume
from trainrelay.analysis.checks.scaling import scaling, sum_identity
from trainrelay.analysis.checks.speed import checkpoint_cadence, data_time, memory, step_time
from trainrelay.analysis.checks.validation import validation
from trainrelay.analysis.checks.validation_metric import validation_metric

FATAL: tuple[Check, ...] = (
    progress,
    resume,
    initial_checkpoint,
    non_finite,
    clamped_infinity,
    divergence,
    lost_terms,
)
CHECKS: tuple[Check, ...] = (
    convergence,
    validation,
    validation_metric,
    components,
    negative_cross_entropy,
    balance,
    auxiliary,
    grad_norm,
    learning_rate,
    plateau,
    spikes,
    step_time,
    data_time,
    memory,
    checkpoint_cadence,
    sum_identity,
    scaling,
    partial_load,
    redone,
    gaps,
    backend,
    attempts,
    slow_patterns,
)

UNLESS: Mapping[str, str] = yaml.safe_load(
    resources.files(__package__).joinpath("unless.yaml").read_text("utf-8")
)
