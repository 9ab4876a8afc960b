"""Verbs and their options; each verb's module is imported when it is called."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from trainrelay import __version__
from trainrelay.packaged import templates
from trainrelay.system.hints import DEFAULT_CONFIGFILE
from trainrelay.text import did_you_mean

_WITHOUT_A_CONFIG = ("help", "init", "schema")
_INTERNAL = ("control", "overview", "promote", "train")  # no list of verbs has them
_RESUMABLE = ("control", "promote", "train")
_OF_WHAT_RUNS = ("export", "overview", "report", "stop", "watch")
_RUNS = "only these runs or stages; default: all"
# By which a shell completes paths: what shtab calls FILE.
_FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
_Verbs: TypeAlias = "argparse._SubParsersAction[_Parser]"


class _Parser(argparse.ArgumentParser):
    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Names the choices that you may type, and the close one."""
        if action.choices is not None and value not in action.choices:
            known = [str(name) for name in action.choices if name not in _INTERNAL]
            allowed = f"allowed: {', '.join(known)}{did_you_mean(value, known)}"
            raise argparse.ArgumentError(action, f"got {value!r}; {allowed}")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    about = "Trains deep-learning models in several stages, as a workflow of Snakemake."
    top = _Parser(prog="trainrelay", description=about)
    top.add_argument("--version", action="version", version=f"trainrelay {__version__}")
    verbs = top.add_subparsers(required=True, metavar="VERB")
    helped = _helping(top, verbs)
    _typed_by_you(verbs)
    _typed_to_see_numbers(verbs)
    _typed_for_one_stage(verbs)
    verb = _add(verbs, "schema", "print the JSON schema of config.yaml, or of a file for other tools")
    of = "%(choices)s (that of what `notify` is given); default: %(default)s"
    names = ("config", "train", "attempt", "analysis", "notice")
    verb.add_argument("of", nargs="?", choices=names, default="config", metavar="NAME", help=of)
    _called_by_the_workflow(verbs)
    helped.choices = [listed.dest for listed in verbs._choices_actions]
    for name, verb in verbs.choices.items():
        if name not in _WITHOUT_A_CONFIG:
            file = None if name in _OF_WHAT_RUNS else DEFAULT_CONFIGFILE
            config = f"the config (default: {file or 'that of the last snakemake here, else config.yaml'})"
            verb.add_argument("--configfile", type=Path, default=file, metavar="FILE", help=config)
            verb.add_argument("--log", type=Path, metavar="FILE", help="also write messages to FILE")
        for action in verb._actions:
            if action.type is Path:
                vars(action)["complete"] = _FILES
    return top


def _add(verbs: _Verbs, name: str, about: str, module: str = "") -> argparse.ArgumentParser:
    """A verb: `run` of cli/NAME.py, or the function NAME of cli/MODULE.py."""
    if name in _INTERNAL:
        verb = verbs.add_parser(name, description=about)
    else:
        verb = verbs.add_parser(name, help=about, description=about)

    def call(arguments: argparse.Namespace) -> None:
        # Imported late: the login node need not load numpy to print a plan.
        code = import_module(f"trainrelay.cli.{module or name}")
        getattr(code, name if module else "run")(arguments)

    verb.set_defaults(verb=call, resumes=name in _RESUMABLE)
    return verb


def _add_for_stage(verbs: _Verbs, name: str, about: str) -> argparse.ArgumentParser:
    verb = _add(verbs, name, about, module="stage")
    verb.add_argument("where", metavar="RUN/STAGE", help="the stage, as the config names it")
    return verb


def _add_controller(verbs: _Verbs, name: str, about: str) -> argparse.ArgumentParser:
    verb = _add(verbs, name, about, module="submit")
    verb.add_argument("snakemake", nargs="*", metavar="-- SNAKEMAKE_ARG", help="default: --profile slurm")
    return verb


def _helping(top: argparse.ArgumentParser, verbs: _Verbs) -> argparse.Action:
    about = "print this, or what a verb does and takes"
    helping = verbs.add_parser("help", help=about, description=about)
    helping.set_defaults(verb=lambda arguments: verbs.choices.get(arguments.about, top).print_help())
    return helping.add_argument("about", nargs="?", metavar="VERB", help="default: all")


def _typed_by_you(verbs: _Verbs) -> None:
    verb = _add(verbs, "init", "write a config, a Snakefile and profiles into a folder; never over a file")
    verb.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: this one")
    first = "the config to begin with: %(choices)s; default: %(default)s, which shows every key"
    verb.add_argument(
        "--from", dest="template", choices=[*templates()], default="uniad", metavar="NAME", help=first
    )
    verb = _add(verbs, "plan", "what would be trained, why, at what price, and with which command")
    verb.add_argument("which", nargs="*", metavar="RUN[/STAGE]", help=_RUNS)
    verb.add_argument("--when", action="store_true", help="ask Slurm when each training could start now")
    verb.add_argument("--json", action="store_true", help="one JSON object per stage, in a list")
    checks = "what would keep a training from starting: trainer, folders, Slurm; one line per check"
    verb = _add(verbs, "check", checks)
    verb.add_argument("which", nargs="*", metavar="RUN[/STAGE]", help=_RUNS)
    submits = "run the workflow from a small Slurm job, for login nodes that end long processes"
    verb = _add_controller(verbs, "submit", submits)
    verb.epilog = (
        "It requeues itself at its time limit. The section controller of site.yaml sets what it asks for."
    )
    watches = "live view of all stages, from any machine that shares their folder; Ctrl-C ends it"
    verb = _add(verbs, "watch", watches)
    verb.add_argument("which", nargs="*", metavar="RUN[/STAGE]", help=_RUNS)
    verb.add_argument("--json", action="store_true", help="one JSON object, once")
    stops = "end a running training so that it can be resumed, from any machine that shares its folder"
    verb = _add(verbs, "stop", stops, module="stage")
    verb.add_argument("which", nargs="+", metavar="RUN[/STAGE]", help="a stage, or all of a run")


def _typed_to_see_numbers(verbs: _Verbs) -> None:
    verb = _add(verbs, "report", "write a run's report.html; without RUN, all of them and index.html")
    verb.add_argument("run", nargs="?", metavar="RUN", help="only this run; default: all")
    judges = "read and judge training logs: files of one training, oldest first, or a folder of each training"
    verb = _add(verbs, "analyze", judges, module="logs")
    what = "a log, packed by gzip or not; a folder with the logs of one training; - for standard input"
    verb.add_argument("logs", nargs="*", type=Path, metavar="LOG", help=what)
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object instead; of several a list")
    form.add_argument("--markdown", action="store_true", help="Markdown as it is, also on a terminal")
    follows = "what is appended to LOG, line by line, until Ctrl-C"
    verb.add_argument("--follow", action="store_true", help=follows)
    two = "two trainings: final and best values of what both log, and where their losses part"
    verb.add_argument("--compare", action="store_true", help=two)
    verb.add_argument("--series", action="store_true", help="with --json: every value of each metric")
    verb.add_argument("--html", type=Path, metavar="FILE", help="write it as a page like the report's")
    apart = "each LOG is a separate training, shown as one line of a table, as several folders are"
    verb.add_argument("--each", action="store_true", help=apart)
    fail = "exit 5 if a verdict is that or worse; a log that cannot be judged is a warning"
    verb.add_argument("--fail-on", choices=("warning", "failed"), help=fail)
    own = "read this stage's logs and write the analysis into its folder"
    verb.add_argument("--stage", metavar="RUN/STAGE", help=own)
    exports = "print a run's logged numbers, one merged series per stage without the steps that were redone"
    verb = _add(verbs, "export", exports, module="report")
    verb.add_argument("which", metavar="RUN[/STAGE]", help="a stage, or all of a run")
    form = verb.add_mutually_exclusive_group(required=True)
    form.add_argument("--csv", action="store_true", help="a table with a column per metric")
    form.add_argument("--jsonl", action="store_true", help="a JSON object per row; null: not finite")
    explains = "what a training log's numbers mean: logs of one training, or metrics by name"
    verb = _add(verbs, "explain", explains, module="logs")
    verb.add_argument("what", nargs="+", metavar="METRIC_OR_LOG", help="as `analyze` takes or prints it")


def _typed_for_one_stage(verbs: _Verbs) -> None:
    accepts = "promote a checkpoint despite findings, or allow a retraining; your reason is recorded"
    verb = _add_for_stage(verbs, "accept", accepts)
    verb.add_argument("--reason", required=True, help="why; shown in the report")
    retrain = "allow the next snakemake to archive the old training and train from scratch"
    verb.add_argument("--retrain", action="store_true", help=retrain)
    restores = "bring an archived training back, its work dir with it; the current one is archived instead"
    verb = _add_for_stage(verbs, "restore", restores)
    which = "the N of STAGE.old-N; default: the one that the config asks for now, else the newest"
    verb.add_argument("number", nargs="?", type=int, metavar="N", help=which)
    rebuilds = "show what can be rebuilt of records of a stage that are damaged or gone"
    verb = _add_for_stage(verbs, "doctor", rebuilds)
    verb.add_argument("--write", action="store_true", help="write it; damaged files are kept beside it")
    sure = "write also what no record proves: the config is as it was when the training began"
    verb.add_argument("--as-configured", action="store_true", help=sure)
    probes = "try each of a stage's communication backends on this machine"
    verb = _add_for_stage(verbs, "probe", probes)
    verb.add_argument("--rung", metavar="NAME", help="only this backend, even if not one of the stage's")
    verb.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def _called_by_the_workflow(verbs: _Verbs) -> None:
    _add_controller(verbs, "control", "run and watch over the workflow (called by the job of submit)")
    _add(
        verbs, "overview", "write index.html, the page of all runs (called by the workflow)", module="report"
    )
    _add_for_stage(verbs, "train", "train one stage, or resume it (called by the workflow)")
    _add_for_stage(verbs, "promote", "verify a stage's checkpoint and promote it (called by the workflow)")
