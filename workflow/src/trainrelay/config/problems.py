"""Words for what is wrong with a configuration: path, what was got, what is allowed, did you mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trainrelay.config.models import CONTROL
from trainrelay.errors import MOST_PROBLEMS
from trainrelay.text import HIDDEN, did_you_mean, is_secret

_WANTED = {
    "string_type": "text (in quotes)",
    "string_too_short": "text that is not empty",
    "string_unicode": "printable text",
    **dict.fromkeys(("int_type", "int_from_float"), "a whole number"),
    "float_type": "a number",
    "bool_type": "true or false",
    **dict.fromkeys(("mapping_type", "dict_type", "model_type"), "a mapping (key: value lines)"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
}
_NAME = "letters, digits, '_' and '-', starting with a letter or digit, at most 64"
_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$": f"a run's name: {_NAME}",
    r"^[A-Za-z][A-Za-z0-9_]{0,63}$": "a stage's name: letters, digits and '_', starting with a letter",
    r"^[a-z][a-z0-9-]{0,63}$": "a rung's name: lower-case letters, digits and '-', starting with a letter",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "the name of an environment variable",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*\.log$": "a file name ending in .log, without a folder",
    r"^[A-Za-z_][A-Za-z0-9_.-]*$": "a key of the trainer config, e.g. data.workers_per_gpu or batch_size",
    r"^[A-Za-z0-9_.-]+$": "the type of a GPU as Slurm names it, e.g. a40",
    r"^[^\x00]*$": "printable text",
    r"^[^/*?\[{]+$": "the name of one file in the work dir, without a folder, *, ?, [ and {",
    rf"^[^{CONTROL}]+$": "text without control characters",
    rf"^[^{CONTROL}{{}}]+$": "a folder's name without control characters and { }",
}
_UNIONS = ("literal", "bool", "int", "float", "str", "list", "constrained-str", "Choice", "none")


def describe(error: ValidationError, data: Any, model: type[BaseModel]) -> list[str]:
    """One line per problem, without repetitions, in the order of the file."""
    lines: dict[str, None] = {}
    for detail in error.errors(include_url=False):
        match place(detail["loc"], data):
            case ["runs", run, "stages", stage, "trainer", key, *_]:
                own = data["runs"][run]["stages"][stage]["trainer"]
                if key not in [*own, *map(str, own)]:  # a key that is null is called "None" here
                    continue  # the run's, and said there
        # Of the rest only the number is shown, so a place does.
        told = len(lines) >= MOST_PROBLEMS
        lines[str(detail["loc"]) if told else _line(detail, data, model)] = None
    return list(lines)


def _line(detail: ErrorDetails, data: Any, model: type[BaseModel]) -> str:
    path = place(detail["loc"], data)
    where = ".".join(str(part) for part in path) or "top level"
    if detail["type"] == "missing":
        return f"{where}: missing; add it{_meaning(path, model)}"
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key{_suggestion(path, model)}"
    if "[key]" in detail["loc"]:
        return f"{where}: not allowed as a name; {_allowed(detail)}"
    got = f"{where}: {_got(detail, path)}"
    if "options" in path and "stages" in path:
        return f"{got}; allowed: true, false, a number, printable text, a list of them"
    if "checkpoint" in path[-1:]:
        return f"{got}; allowed: latest, {{epoch: N}}, {{iteration: N}}, or {{best: METRIC, mode: max}}"
    return f"{got}; {_allowed(detail)}"


def place(loc: Sequence[int | str], data: Any) -> list[int | str]:
    """The place in the user's file: pydantic's own steps (union members, '[key]') are left out."""
    path: list[int | str] = []
    for step in loc:
        if _has(data, step):
            data = data[step]
        elif _is_internal(step) or not isinstance(data, Mapping):
            continue
        path.append(step)
    return path


def _has(data: Any, step: int | str) -> bool:
    if isinstance(data, Mapping):
        return step in data
    return isinstance(data, list | tuple) and isinstance(step, int) and step < len(data)


def _is_internal(step: int | str) -> bool:
    return isinstance(step, str) and (step == "[key]" or step.split("[")[0] in _UNIONS)


def _allowed(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind in _WANTED:
        return f"expected {_WANTED[kind]}"
    if kind == "literal_error":
        quoted = re.findall(r"'([^']*)'", context["expected"])
        return f"allowed: {context['expected']}{did_you_mean(detail['input'], quoted)}"
    if kind == "string_pattern_mismatch":
        return f"expected {_PATTERNS.get(context['pattern'], context['pattern'])}"
    if kind == "too_short":
        return f"expected at least {context['min_length']} entry"
    if kind == "value_error":
        return str(context["error"])
    message = detail["msg"]
    return f"expected {message.removeprefix('Input should be ')}"


def _got(detail: ErrorDetails, path: Sequence[int | str]) -> str:
    text = repr(detail["input"])
    if is_secret(str(path[-1:])) or ("env" in path and is_secret(text)):
        return f"got {HIDDEN}"
    shown = text if len(text) <= 60 else text[:57] + "..."
    return "is empty" if detail["input"] is None else f"got {shown}"


def _suggestion(path: Sequence[int | str], model: type[BaseModel]) -> str:
    key, known = str(path[-1]), _fields(_model_at(path[:-1], model))
    words = {key, key.removesuffix("s")} if not {f"{key}s", key.removesuffix("s")} & known.keys() else set()
    for section, field in known.items():
        inside = [] if "Mapping" in str(field.annotation) else _models_in(field.annotation)
        if found := words & {name for one in inside for name in _fields(one)}:
            return f"; write {section}: {{{max(found)}: ...}}"
    return did_you_mean(path[-1], known) or (f"; allowed: {', '.join(known)}" if known else "")


def _meaning(path: Sequence[int | str], model: type[BaseModel]) -> str:
    field = _fields(_model_at(path[:-1], model)).get(str(path[-1]))
    if field is None or not field.description:
        return ""
    return f" ({' '.join(field.description.split()).rstrip('.')})"


def _fields(model: type[BaseModel] | None) -> Mapping[str, Any]:
    if model is None:
        return {}
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_at(path: Sequence[int | str], model: type[BaseModel] | None) -> type[BaseModel] | None:
    """The model that describes a place; a mapping of models is stepped through by any key."""
    inside_mapping: type[BaseModel] | None = None
    for step in path:
        if inside_mapping is not None:
            model, inside_mapping = inside_mapping, None
            continue
        field = _fields(model).get(str(step))
        found = _models_in(field.annotation) if field is not None else []
        if field is not None and "Mapping" in str(field.annotation):
            model, inside_mapping = None, found[0] if found else None
        else:
            model = found[0] if found else None
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
