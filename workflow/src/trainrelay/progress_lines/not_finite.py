"""NaN and Inf on progress lines: steps that a loss scaler skips, or a training that is lost (pure).

A loss scaler leaves out each step whose gradient overflowed and halves its scale, so a few lines in a row
with NaN or Inf as gradient norm are normal, most of all at the start. A step that is not left out makes the
weights NaN, and with them every later norm: one that is finite again shows that no harm was done.
"""

from __future__ import annotations

import math

# More in a row than the few that a loss scaler explains; a line may be the mean of many steps.
LOST_AFTER_LINES = 5
# A norm that is NaN alone may be of steps that are left out, and one of them stays in a median of 20 steps.
LOST_AFTER_ITERATIONS = 50


def not_finite(loss: float | None, grad_norm: float | None) -> str | None:
    """What a lost training shows on a line; only the norm does where losses pass nan_to_num (UniAD)."""
    if loss is not None and not math.isfinite(loss):
        return "the loss was not finite"
    return "the gradient norm was NaN" if grad_norm is not None and math.isnan(grad_norm) else None
