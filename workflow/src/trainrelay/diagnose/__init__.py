"""Diagnosis: one table of a training's logs -> findings, progression, verdict."""

from trainrelay.diagnose import naming
from trainrelay.diagnose.analyze import analyze, not_judged
from trainrelay.diagnose.explain import explain_words
from trainrelay.diagnose.knowledge import group_titles, grouped
from trainrelay.diagnose.serialize import from_json, to_json

__all__ = [
    "analyze",
    "explain_words",
    "from_json",
    "group_titles",
    "grouped",
    "naming",
    "not_judged",
    "to_json",
]
