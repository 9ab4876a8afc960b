"""Analysis <-> the object that `analyze --json` prints and analysis.json holds.

JSON has no NaN and no infinity: in `metrics`, `progression` and `evidence` they are the strings "NaN",
"Infinity" and "-Infinity"; in `curves` NaN is null, which plots show as a gap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trainrelay.errors import LogError
from trainrelay.records import Analysis

_STRINGS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(analysis: Analysis, *, curves: bool = False) -> dict[str, Any]:
    """Plain JSON values; `curves` are large and only there when asked for."""
    plain = _encoded(asdict(replace(analysis, curves={})))
    del plain["curves"]
    verdict = plain.pop("verdict")
    ordered = {"verdict": verdict["kind"], "verdict_reason": verdict["reason"]}
    if curves:
        ordered["curves"] = {
            phase: {name: [[step, _gap(value)] for step, value in points] for name, points in found.items()}
            for phase, found in analysis.curves.items()
        }
    return {**plain, **ordered}


def from_json(found: Mapping[str, Any]) -> Analysis:
    """The Analysis again. Raises LogError for what `to_json` did not write."""
    try:
        plain = {key: value for key, value in found.items() if key != "verdict_reason"}
        plain["verdict"] = {"kind": found["verdict"], "reason": found["verdict_reason"]}
        plain["findings"] = [_decoded_finding(finding) for finding in found["findings"]]
        plain["curves"] = _without_gaps(found.get("curves", {}))
        return _adapter().validate_python(plain)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LogError(f"not an analysis that trainrelay wrote ({_why(error)})") from error


def json_schema() -> dict[str, Any]:
    """The JSON schema of what `to_json` makes."""
    said = _adapter().json_schema()
    verdict = said["$defs"].pop("Verdict")["properties"]
    said["properties"] |= {"verdict": verdict["kind"], "verdict_reason": verdict["reason"]}
    said["required"].append("verdict_reason")
    numbers = json.dumps([{"type": "number"}, {"enum": [*_STRINGS, None]}])
    found: dict[str, Any] = json.loads(json.dumps(said).replace('"type": "number"', f'"anyOf": {numbers}'))
    return found


@cache
def _adapter() -> TypeAdapter[Analysis]:
    return TypeAdapter(Analysis)


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return f"missing or wrong: {error}"


def _encoded(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {str(key): _encoded(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_encoded(item) for item in value]
    return value


def _gap(value: float) -> Any:
    return None if math.isnan(value) else _encoded(value)


def _decoded_finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    evidence = finding.get("evidence", {})
    decoded = {key: _STRINGS.get(v, v) if isinstance(v, str) else v for key, v in evidence.items()}
    return {**finding, "evidence": decoded}


def _without_gaps(curves: Mapping[str, Any]) -> dict[str, Any]:
    return {
        phase: {
            name: [(step, math.nan if value is None else value) for step, value in points]
            for name, points in found.items()
        }
        for phase, found in curves.items()
    }
