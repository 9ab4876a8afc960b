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

Made by `make reference` from the code as it is. Read them as you like; never write them. For programs there
are also `trainrelay plan --json` and `trainrelay watch --json`.

## Where each file is

```
<out>/index.html                             declared: all runs at a glance
<out>/RUN/report.html                        declared
<out>/RUN/STAGE/stage.json                   identity: ingredients, initial checkpoint's sha256
                attempts/NNN/attempt.json    argv, backend, resume point, host; then class and
                                             reason of its end, and what was decided
                attempts/NNN/processes.json  pids and starts of its processes
                attempts/NNN/<log>           the trainer's console, a file that is tailed
                attempts/NNN/hook/           settings.json for the hook; by each rank: that it attached,
                                             its steps, why it stopped; what came from the initial checkpoint
                attempts/NNN/hook/save-now   a request for a step checkpoint
                attempts/NNN/steps/STEP/     a step checkpoint: files by its ranks, manifest.json last;
                                             none once the training is finished
                attempts/NNN/telemetry.jsonl steps, step time, data time and memory of all ranks
                attempts/NNN/stacks/         the stacks of each process when it hung
                probe/<rung>.log             output of the ranks of the last probe
                work_dir/                    the trainer's own, unless the config names another
                work_dir/owner.json          whose it is, and whether it was empty before
                work_dir.taken-N/            the work dir after a takeover from an owner that may live
                kept/                        a copy of the last valid checkpoint that the trainer overwrites
                accepted.json                your decision, bound to one checkpoint
                accepted-retrain.json        the same, bound to one change
                NAME.damaged                 a record that `trainrelay doctor` rebuilt, as it was
                promoted.json                all that was written to the promotion target
                not-promoted.json            why the last promotion was refused
                removed.json                 which checkpoints `keep` removed, and when
                train.json  checkpoint.json  analysis.json  analysis.md          declared
                train.log  promote.log  analyze.log      output of the verbs, per rule
<out>/RUN/.STAGE/lease/                      who may write: a claim per fencing token, and its owner's beat
                 events.jsonl  stop.json     messages of the supervisor; a stop request
                 told                        a line for each event of which `notify` took notice
<out>/RUN/STAGE.old-1/                       a training of another identity, kept
<out>/controller-JOB.log                     output of a controller of trainrelay submit
.snakemake/submitit/                         logs and results of the executor's jobs, a folder for each
.snakemake/trainrelay/controller.json        whose Snakemake's lock is
                      submitted-SHA256.json  config and ingredients as submitted
                      site-SHA256.json       site.yaml as submitted
                      controller.sh          what trainrelay submit gave to sbatch
```

*declared* is a file that Snakemake knows as an output. Logs are text, analysis.md is Markdown, `told` has a
word per line; a `.json` is one JSON object, a `.jsonl` one per line, and all of these are below.

## What holds for all of them

A name that ends in `_s` is seconds, of a moment Unix seconds. `EndClass`, why an attempt ended, is one of
[these](troubleshooting.md#an-attempt-ended). In analysis.json `verdict` is the kind of the verdict, with
`verdict_reason` beside it; a NaN or an infinity is a text there.

stage.json, the files of `hook/`, a step checkpoint's manifest and a notice have a `format`, a number: a
version that does not know it leaves the file alone. The other files have none; a later version may add
fields to any. In analysis.json `format` is the family of logs.

For tools there are JSON schemas, which let unknown fields pass:
[train.json](../workflow/schemas/train.schema.json), [attempt.json](../workflow/schemas/attempt.schema.json),
[analysis.json](../workflow/schemas/analysis.schema.json), [a notice](../workflow/schemas/notice.schema.json);
`trainrelay schema NAME` prints them, too. `default` is what a file without the field means.
"""
TOLD = "What the command `notify` of site.yaml is given, one object ([how to](howto.md#how-am-i-told))."
PARTS = "Objects that are values of fields above, by the type that is written there."


def page() -> str:
    """The whole text."""
    lines = [HEAD, "## Of a stage: `runs/RUN/STAGE/`"]
    for name, model in IN_STAGE.items():
        lines += section(name, model)
    lines += ["", "## Of its supervision: `runs/RUN/.STAGE/`"]
    for name, model in BESIDE.items():
        lines += section(name, model)
    lines += ["", "## A notice", *section("notice", files.Notice, TOLD)]
    lines += ["", "## Parts of them", "", PARTS]
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


def section(name: str, model: type, said: str = "") -> Iterator[str]:
    # What a docstring says before its colon is the file's name.
    said = said or inspect.cleandoc(model.__doc__ or "").removeprefix(f"{name}: ")
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
