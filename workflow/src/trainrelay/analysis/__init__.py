"""Diagnosis: one table of a training's logs -> findings, progression, verdict."""

from trainrelay.analysis import naming
from trainrelay.analysis.analyze import analyze, not_judged, series
from trainrelay.analysis.best import evaluations
from trainrelay.analysis.compare import Compared, compare
from trainrelay.analysis.explain import explain_words
from trainrelay.analysis.knowledge import group_title, grouped, learn
from trainrelay.analysis.knowledge.model import Knowledge
from trainrelay.analysis.readers import (
    ENDINGS,
    SHARE,
    BeginsAgain,
    DescribedLines,
    RowSeen,
    ended,
    follow,
    logs_of,
    read,
    with_own,
)
from trainrelay.analysis.serialize import from_json, json_schema, to_json
