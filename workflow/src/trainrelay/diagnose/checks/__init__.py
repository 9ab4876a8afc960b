"""One function per check. The order is that of a report: what ends a training comes first."""

from trainrelay.diagnose.case import Check
from trainrelay.diagnose.checks.attempts import attempts
from trainrelay.diagnose.checks.auxiliary import auxiliary
from trainrelay.diagnose.checks.backend import backend
from trainrelay.diagnose.checks.balance import balance
from trainrelay.diagnose.checks.components import components, lost_terms
from trainrelay.diagnose.checks.convergence import convergence, divergence
from trainrelay.diagnose.checks.cross_entropy import negative_cross_entropy
from trainrelay.diagnose.checks.finiteness import clamped_infinity, non_finite
from trainrelay.diagnose.checks.grad_norm import grad_norm
from trainrelay.diagnose.checks.initial_checkpoint import initial_checkpoint, partial_load
from trainrelay.diagnose.checks.learning_rate import learning_rate
from trainrelay.diagnose.checks.plateau import plateau
from trainrelay.diagnose.checks.progress import progress
from trainrelay.diagnose.checks.resume import redone, resume
from trainrelay.diagnose.checks.scaling import scaling
from trainrelay.diagnose.checks.spikes import spikes
from trainrelay.diagnose.checks.sum_identity import sum_identity
from trainrelay.diagnose.checks.validation import validation
from trainrelay.diagnose.checks.validation_metric import validation_metric

CHECKS: tuple[Check, ...] = (
    progress,
    resume,
    initial_checkpoint,
    non_finite,
    clamped_infinity,
    divergence,
    convergence,
    validation,
    validation_metric,
    components,
    lost_terms,
    negative_cross_entropy,
    balance,
    auxiliary,
    grad_norm,
    learning_rate,
    plateau,
    spikes,
    sum_identity,
    scaling,
    partial_load,
    redone,
    backend,
    attempts,
)

__all__ = ["CHECKS"]
