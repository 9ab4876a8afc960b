"""What would make an alarm of a check wrong: you know what a log does not show."""

from __future__ import annotations

from collections.abc import Mapping

UNLESS: Mapping[str, str] = {
    "attempts": "the cause was fixed since",
    "auxiliary": "the layers are weighted or matched on purpose in another way",
    "backend": "the trainer sets its backend elsewhere than in its config",
    "balance": "one of the two was trained before, or is held back by a schedule",
    "clamped-infinity": "the trainer logs such a number as a placeholder",
    "components": "the term is adversarial, its weight was raised, or it counts more samples than before",
    "convergence": "it began from weights that had learned this already, the learning rate was still in its"
    " warm-up, or the loss is adversarial or contrastive: then the validation metric decides",
    "divergence": "the loss changed on purpose: terms switched on, weights raised, harder data",
    "grad-norm": "parts of the model were frozen or thawed on purpose",
    "initial-checkpoint": "the weights were loaded without a line in the log",
    "learning-rate": "the schedule was changed on the command line, which the printed config does not show",
    "log": "the trainer writes its numbers to another file",
    "lost-term": "the term is switched off by a schedule, or can really be zero (hinge, triplet, no target)",
    "memory": "inputs grow on purpose, as with a curriculum",
    "negative-cross-entropy": "the term is a log-likelihood of a density, which may be negative",
    "non-finite": "the trainer leaves such steps out, as a loss scaler does",
    "partial-load": "the parts that do not match are meant to be new",
    "plateau": "the loss is near its floor: compare it with a training that is known to be good",
    "progress": "the training still runs, or its end was meant to come here",
    "resume": "the training was meant to begin again",
    "scaling": "the coefficient is scheduled",
    "spikes": "single batches are much harder than others, and the validation metric does not mind",
    "sum-identity": "the log leaves terms out, or shows some that are no part of the total",
    "validation": "both are prepared in different ways (augmentation, mixup, dropout), or overfitting does not"
    " matter for the metric",
    "validation-metric": "the evaluation set is too small to tell, or the metric is not what you train for",
}
