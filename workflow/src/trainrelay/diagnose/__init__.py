"""Diagnosis: one table of a training's logs -> findings, progression, verdict."""

from trainrelay.diagnose.analyze import analyze, not_judged
from trainrelay.diagnose.explain import explain_words
from trainrelay.diagnose.serialize import from_json, to_json

__all__ = ["analyze", "explain_words", "from_json", "not_judged", "to_json"]
