"""What the numbers of a log mean, with its own numbers; and what a single metric means, without a log."""

from trainrelay.analysis.explain.log import explanation
from trainrelay.analysis.explain.lookup import explain_words

__all__ = ["explain_words", "explanation"]
