"""docs/files.md: the files in `runs/` with their fields, from the records as they are; see reference.py."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator

from trainrelay.records import files, report
from trainrelay.supervise.events import StageEvent
from trainrelay.supervise.lease.claim import Beat, Claim
from trainrelay.supervise.stop import StopOrder
from trainrelay.supervise.telemetry import RankTelemetry, Telemetry

IN_STAGE: dict[str, type] = {
    "stage.json": files.Identity,
    "attempts/NNN/attempt.json": files.AttemptRecord,
    "attempts/NNN/processes.json": files.Processes,
    "train.json": files.TrainRecord,
    "checkpoint.json": files.CheckpointRecord,
    "analysis.json": report.Analysis,
    "work_dir/owner.json": files.Owner,
    "promoted.json": files.Promotions,
    "not-promoted.json": files.NotPromoted,
    "removed.json": files.Removals,
    "accepted.json, accepted-retrain.json": files.Acceptance,
    "attempts/NNN/hook/rank-R.json": files.HookNote,
    "attempts/NNN/hook/initial.json": files.InitialWeights,
    "attempts/NNN/hook/not-finite-R.json": files.NotFiniteStep,
    "attempts/NNN/hook/telemetry-R.json": RankTelemetry,
    "attempts/NNN/telemetry.jsonl": Telemetry,
    "attempts/NNN/steps/STEP/manifest.json": files.StepManifest,
}
BESIDE: dict[str, type] = {
    "lease/NNNNNN.json": Claim,
    "lease/NNNNNN.beat": Beat,
    "events.jsonl": StageEvent,
    "stop.json": StopOrder,
}
HEAD = """\
# Files in `runs/`

Made by `make reference` from the code as it is; [where each file is](ARCHITECTURE.md#what-is-where). All
are JSON; `.jsonl` has an object per line. A name that ends in `_s` is seconds, of a moment Unix seconds.
Read them as you like; never write them. A file with a `format` is left alone by a version that does not
know that number. For programs there are also `trainrelay plan --json` and `trainrelay watch --json`.

`EndClass`, why an attempt ended, is one of [these](troubleshooting.md#an-attempt-ended). In
analysis.json `verdict` is the kind of the verdict, with `verdict_reason` beside it; a NaN or an infinity
is a text there.
"""
PARTS = "Objects that are values of fields above, by the type that is written there."


def page() -> str:
    """The whole text."""
    lines = [HEAD, "## Of a stage: `runs/RUN/STAGE/`"]
    for name, model in IN_STAGE.items():
        lines += section(name, model)
    lines += ["", "## Of its supervision: `runs/RUN/.STAGE/`"]
    for name, model in BESIDE.items():
        lines += section(name, model)
    lines += [
        "",
        "## Parts of them",
        "",
        "Objects that are values of fields above, by the type that is written there.",
    ]
    for model in parts():
        lines += section(model.__name__, model)
    return "\n".join(lines) + "\n"


def parts() -> list[type]:
    """The models that fields of a file name, and those that fields of these name."""
    top = {*IN_STAGE.values(), *BESIDE.values()}
    modules = {model.__module__: inspect.getmodule(model) for model in top}
    known = {
        name: value
        for module in (files, report, *modules.values())
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__.startswith("trainrelay.")
    }
    found: dict[str, type] = {}
    waiting = list(top)
    while waiting:
        for _, kind, _, _ in fields(waiting.pop()):
            for name in re.findall(r"\w+", kind):
                model = known.get(name)
                if model and model not in top and name not in found:
                    found[name] = model
                    waiting.append(model)
    return [found[name] for name in sorted(found)]


def section(name: str, model: type) -> Iterator[str]:
    said = inspect.cleandoc(model.__doc__ or "")
    yield from ("", f"### {', '.join(f'`{one}`' for one in name.split(', '))}", "", cell(said), "")
    yield from ("| field | type | default | |", "|---|---|---|---|")
    for field, kind, default, meaning in fields(model):
        yield f"| `{field}` | `{cell(kind)}` | {f'`{cell(default)}`' if default else ''} | {cell(meaning)} |"


def fields(model: type) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and the comment in the source of each, those of its base first."""
    for base in reversed(model.__mro__):
        if base.__module__.startswith("trainrelay."):
            yield from _fields(base)


def _fields(model: type) -> Iterator[tuple[str, str, str, str]]:
    source = textwrap.dedent(inspect.getsource(model))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {one.start[0]: one.string.lstrip("# ") for one in tokens if one.type == tokenize.COMMENT}
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = comments.get(node.end_lineno or 0, "")
            yield node.target.id, _kind(node.annotation, model), _default(node.value), said


def _kind(node: ast.expr, model: type) -> str:
    """`Annotated[int, Field(..)]`, also by a name, is an int."""
    bare = re.sub(r"Annotated\[([\w\[\], .]+), [A-Z]\w+\([^)]*\)\]", r"\1", ast.unparse(node))

    def plain(found: re.Match[str]) -> str:
        value = vars(inspect.getmodule(model)).get(found[0])
        return value.__origin__.__name__ if hasattr(value, "__metadata__") else found[0]

    return re.sub(r"\w+", plain, bare)


def _default(node: ast.expr | None) -> str:
    if isinstance(node, ast.Call):  # a Field or a factory
        given = [word.value for word in node.keywords if word.arg == "default"]
        return ast.unparse(given[0]) if given else ""
    return ast.unparse(node) if node else ""


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
