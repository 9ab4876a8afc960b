"""Diagnosis: one table of a training's logs -> findings, progression, verdict."""

from trainrelay.analysis import naming
from trainrelay.analysis.analyze import analyze, not_judged
from trainrelay.analysis.best import evaluations
from trainrelay.analysis.explain import explain_words
from trainrelay.analysis.knowledge import group_title, grouped
from trainrelay.analysis.numbers import count
from trainrelay.analysis.readers import ENDINGS, DescribedLines, logs_of, read
from trainrelay.analysis.serialize import from_json, json_schema, to_json

__all__ = [
    "ENDINGS",
    "DescribedLines",
    "analyze",
    "count",
    "evaluations",
    "explain_words",
    "from_json",
    "group_title",
    "grouped",
    "json_schema",
    "logs_of",
    "naming",
    "not_judged",
    "read",
    "to_json",
]
