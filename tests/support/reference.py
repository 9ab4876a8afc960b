"""docs/reference.md, from the parser and the models. `make reference` writes it and docs/files.md."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import file_reference
from support.file_reference import cell
from trainrelay.cli.arguments import parser
from trainrelay.config import schema
from trainrelay.config.site import Site
from trainrelay.errors import Diverged, Interrupted, NoProgress, UserError, VerdictRefused

PAGE = Path(__file__).parents[2] / "docs/reference.md"
SECTIONS = {
    "Run": "A run: `runs.RUN`",
    "TrainerSettings": "A trainer: `runs.RUN.trainer`",
    "ScriptSettings": "A script: `runs.RUN.trainer.script`",
    "Stage": "A stage: `runs.RUN.stages.STAGE`",
    "Resources": "Its resources: `runs.RUN.stages.STAGE.resources`",
    "Promotion": "Its promotion: `runs.RUN.stages.STAGE.promotion`",
    "Keep": "What stays: `runs.RUN.stages.STAGE.keep`",
    "Choice": "Its checkpoint, by a choice: `runs.RUN.stages.STAGE.checkpoint`",
    "OwnRung": "A way to communicate: `rungs.NAME`",
}
EXIT_CODES = {
    0: "done",
    1: "a bug of trainrelay, with its traceback; any failure inside a Snakemake job",
    UserError.exit_code: "something to fix, which the last message names",
    Diverged.exit_code: "the training diverged",
    NoProgress.exit_code: "attempts saved no new checkpoint",
    VerdictRefused.exit_code: "a log was judged as `analyze --fail-on` does not allow",
    Interrupted.exit_code: "ended early and resumable: run the same command again",
}


HEAD = """\
# Reference

Made by `make reference` from the command line and the configuration as they are. The same keys with an
example of each: [config.yaml](../config.yaml), [site.example.yaml](../site.example.yaml).

`trainrelay` reads config.yaml in the folder where it is started; for another one, as the demo's, add
`--configfile workflow/demo/config.yaml`. `watch`, `stop`, `report` and `export` know the config of the last
`snakemake` there. `trainrelay help VERB` prints a verb's options.

## Snakemake

Snakemake takes the value of `--profile` for a folder: `local`, `slurm`, `slurm-chain` and `slurm-native`
are symbolic links into `profiles/` in a clone (there is `demo`, too) and in a folder that `trainrelay init`
made. Where another file has such a name, write `--profile profiles/slurm`.

| command | what it does |
|---|---|
| `snakemake -n` | what would run, and why: first a line per training, refused ones on top; trains nothing |
| `snakemake -n --quiet host rules` | those lines and the table of jobs alone |
| `snakemake --profile local` | runs it on this machine |
| `snakemake --profile slurm` | runs it on [Slurm](slurm.md) |
| `snakemake --profile demo` | runs both demo systems of a clone |
| `snakemake --profile local --until train_stage1` | up to one training |
| `snakemake --profile local --forcerun promote_stage1` | verifies and copies again; trains nothing |
| `snakemake --report workflow.html` | Snakemake's own report, ours inside |
| `snakemake --unlock` | removes the lock that a killed `snakemake` left |

## Verbs and options

| verb | |
|---|---|"""
MORE = {
    "init": "[Which of them were run](trainers.md). In site.yaml every key is commented out.",
    "plan": "State, reason, exact command, sbatch's flags and GPU-hours of every stage; exits 2 where one"
    " is refused.",
    "check": "It looks at the trainer's Python and files, folders and Slurm, and shows what is understood"
    " of a `sample_log`. A node's GPUs, cores and memory are looked at when a training starts"
    " there.",
    "probe": "Each works, fails or hangs; with GB/s by size.",
    "submit": "It runs `snakemake --profile slurm`; other arguments come after `--`."
    " [More](slurm.md#the-controller-as-a-job).",
    "watch": "Epoch, loss, ETA, backend, attempts and last event of each, steps where its log is not"
    " understood, and what waits in Slurm's queue; plain text off a terminal.",
    "stop": "The next `snakemake` resumes it.",
    "report": "While a stage trains, its supervisor has both pages written every 5 minutes, at idle"
    " priority, or 100 times as long as that takes (an hour at most); an open page reads itself again.",
    "analyze": "Of several folders it prints a line per training: how far it came, its loss and the course"
    " of it, the verdict. `--follow` prints a line per row at once, then findings that are new or"
    " gone; MetricLogger's logs, tables and mmengine's JSON are read again as a whole. `--compare A B"
    " --html FILE` overlays both. `--stage` writes into the stage's folder."
    " [What it reads](judgement.md#what-it-reads).",
    "explain": "[What the numbers mean](numbers.md).",
    "accept": "It holds for this checkpoint, or this change, alone.",
    "restore": "Stage folder and work dir move together, verified by sha256.",
    "doctor": "From owner.json, attempts, checkpoints and the config, after a power cut, say. Without"
    " `--write` nothing is written; with it each damaged file is kept beside the new one as"
    " `NAME.damaged`.",
    "schema": "For your editor, or for tools that [read what a run did](files.md).",
}
KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def page() -> str:
    """The whole text."""
    lines = [
        HEAD,
        *verbs(),
        *("", "## Exit codes", "", "Inside a Snakemake job every one but 0 becomes 1.", ""),
        *("| code | |", "|---|---|"),
        *(f"| {code} | {meaning} |" for code, meaning in sorted(EXIT_CODES.items())),
        *("", "## Keys of config.yaml"),
        *keys(schema(), schema()["$defs"]),
    ]
    for name, title in SECTIONS.items():
        lines += ["", f"### {title}", *keys(schema()["$defs"][name], schema()["$defs"])]
    site = Site.model_json_schema()
    lines += ["", "## Keys of site.yaml", *keys(site, site["$defs"])]
    lines += ["", "### The job of trainrelay submit: `controller`", *keys(site["$defs"]["Controller"], {})]
    return "\n".join(lines) + "\n"


def verbs() -> Iterator[str]:
    named = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    listed = {
        one.dest: named.choices[one.dest] for one in named._choices_actions
    }  # not what is called by rules
    assert MORE.keys() <= listed.keys()
    for name, verb in listed.items():
        yield f"| [{name}](#trainrelay-{name}) | {cell(verb.description or '')} |"
    for name, verb in listed.items():
        said = cell(verb.description or "")
        about = [f"{said[:1].upper()}{said[1:]}.", verb.epilog, MORE.get(name)]
        yield from ("", f"### `trainrelay {name}`", "", " ".join(filter(None, about)), "")
        options = [action for action in verb._actions if action.dest != "help"]
        yield from ("| | |", "|---|---|") if options else ()
        yield from map(option, options)


def option(action: argparse.Action) -> str:
    """Its row: with a name for its value, which are the choices if they are few."""
    value = action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper())
    named = [", ".join(action.option_strings), *([str(value)] if action.nargs != 0 else [])]
    helped = (action.help or "") % {**vars(action), "choices": ", ".join(action.choices or ())}
    return f"| `{cell(' '.join(named).strip())}` | {cell(helped)} |"


def keys(model: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    yield from ("", "| key | value | default | |", "|---|---|---|---|")
    for name, field in model["properties"].items():
        default = "needed" if name in model.get("required", ()) else shown(field.get("default"))
        yield f"| `{name}` | {cell(value(field, known))} | {default} | {cell(field.get('description', ''))} |"


def value(field: dict[str, Any], known: dict[str, Any]) -> str:
    """What a key may hold, in words; null is told by its default."""
    if "$ref" in field:
        return value(known[field["$ref"].rpartition("/")[2]], known)
    if "anyOf" in field:
        some = [one for one in field["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(value(one, known) for one in some))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{one}`" for one in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {value(field['items'], known)}"
    if field.get("type") == "object" or "properties" in field:
        of = field.get("additionalProperties") or next(
            iter(field.get("patternProperties", {}).values()), None
        )
        return f"names with {value(of, known)}" if of else "keys, see below"
    least, above = field.get("minimum"), field.get("exclusiveMinimum")
    bound = f", at least {least}" if least else f", above {above}" if above is not None else ""
    most = field.get("maximum", 1e6)
    return f"{KINDS[field['type']]}{bound}{f', at most {most}' if most < 1e6 else ''}"


def shown(default: Any) -> str:
    return "see below" if isinstance(default, dict) and default else f"`{json.dumps(default)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    PAGE.with_name("files.md").write_text(file_reference.page(), encoding="utf-8")
