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


def page() -> str:
    """The whole text."""
    lines = [
        "# Reference",
        "",
        "Made by `make reference` from the command line and the configuration as they are. The same with an",
        "example of each key: [config.yaml](../config.yaml), [site.example.yaml](../site.example.yaml).",
        *("", "## Verbs and options"),
        *verbs(),
        *("", "## Exit codes", "", "| code | |", "|---|---|"),
        *(f"| {code} | {meaning} |" for code, meaning in sorted(EXIT_CODES.items())),
        *("", "## Keys of config.yaml"),
        *keys(schema()),
    ]
    for name, title in SECTIONS.items():
        lines += ["", f"### {title}", *keys(schema()["$defs"][name])]
    site = Site.model_json_schema()
    lines += ["", "## Keys of site.yaml", *keys(site)]
    lines += ["", "### The job of trainrelay submit: `controller`", *keys(site["$defs"]["Controller"])]
    return "\n".join(lines) + "\n"


def verbs() -> Iterator[str]:
    named = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    for listed in named._choices_actions:  # not what the workflow alone calls
        name, verb = listed.dest, named.choices[listed.dest]
        yield from ("", f"### `trainrelay {name}`", "", cell(verb.description or ""), "")
        options = [action for action in verb._actions if action.dest != "help"]
        yield from ("| | |", "|---|---|") if options else ()
        for action in options:
            given = " ".join([", ".join(action.option_strings), str(action.metavar or "")]).strip()
            helped = (action.help or "") % {**vars(action), "choices": ", ".join(action.choices or ())}
            yield f"| `{cell(given)}` | {cell(helped)} |"


def keys(model: dict[str, Any]) -> Iterator[str]:
    yield from ("", "| key | default | |", "|---|---|---|")
    for name, field in model["properties"].items():
        default = "needed" if name in model.get("required", ()) else shown(field.get("default"))
        yield f"| `{name}` | {default} | {cell(field.get('description', ''))} |"


def shown(default: Any) -> str:
    return "see below" if isinstance(default, dict) and default else f"`{json.dumps(default)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    PAGE.with_name("files.md").write_text(file_reference.page(), encoding="utf-8")
