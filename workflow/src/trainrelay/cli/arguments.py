"""Verbs and their options; each verb's module is imported when it is called."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from trainrelay.errors import UserError

Verb = Callable[[argparse.Namespace], None]


def _verb(module: str) -> Verb:
    """`run` of a module, imported late: the login node need not load numpy to print a plan."""

    def call(arguments: argparse.Namespace) -> None:
        import_module(f"trainrelay.cli.{module}").run(arguments)

    return call


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="trainrelay",
        description="Trains deep-learning models in several stages, as a workflow of Snakemake.",
    )
    verbs = top.add_subparsers(required=True, metavar="VERB")
    _plan(verbs)
    _check(verbs)
    _submit(verbs)
    _watch(verbs)
    _stop(verbs)
    _analyze(verbs)
    _explain(verbs)
    _accept(verbs)
    _restore(verbs)
    _probe(verbs)
    _control(verbs)
    for name, about in (
        ("train", "train one stage, or resume it (called by the workflow)"),
        ("promote", "verify a stage's checkpoint and promote it (called by the workflow)"),
    ):
        verb = verbs.add_parser(name, help=about, description=about)
        verb.add_argument("where", metavar="RUN/STAGE")
        _configured(verb, name)
    report = verbs.add_parser("report", help="write a run's report.html; without RUN, all of them")
    report.add_argument("run", nargs="?", metavar="RUN")
    _configured(report, "report")
    about = "write index.html, the page of all runs"
    _configured(verbs.add_parser("overview", help=about, description=about), "overview")
    verbs.add_parser("schema", help="print the JSON schema of config.yaml").set_defaults(verb=_verb("schema"))
    return top


def _configured(verb: argparse.ArgumentParser, module: str) -> None:
    about = "the config (default: config.yaml)"
    verb.add_argument("--configfile", type=Path, default=Path("config.yaml"), metavar="FILE", help=about)
    verb.add_argument("--log", type=Path, metavar="FILE", help="also write messages to FILE")
    verb.set_defaults(verb=_verb(module))


def _plan(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "what would be trained, why, at what price, and with which command"
    verb = verbs.add_parser("plan", help=about, description=about)
    verb.add_argument("--when", action="store_true", help="ask Slurm when each training could start now")
    verb.add_argument("--json", action="store_true", help="one JSON object per stage, in a list")
    _configured(verb, "plan")


def _check(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "what would keep a training from starting: trainer, folders, Slurm; one line per check"
    verb = verbs.add_parser("check", help=about, description=about)
    verb.add_argument("where", nargs="?", metavar="RUN/STAGE", help="this stage alone")
    _configured(verb, "check")


def _submit(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "run the workflow from a small Slurm job, for login nodes that end long processes"
    verb = verbs.add_parser(
        "submit",
        help=about,
        description=f"{about[0].upper()}{about[1:]}. It requeues itself at its time limit.",
        epilog="Defaults are in the section controller of site.yaml.",
    )
    _controlling(verb, "submit")


def _controlling(verb: argparse.ArgumentParser, module: str) -> None:
    limit = "time limit of that job in minutes; it requeues itself then"
    verb.add_argument("--time-min", type=int, metavar="MIN", help=limit)
    verb.add_argument("--partition", metavar="NAME", help="a partition for CPU jobs")
    verb.add_argument("--mem-gb", type=float, metavar="GB", help="memory of that job")
    verb.add_argument("snakemake", nargs="*", metavar="-- SNAKEMAKE_ARG", help="default: --profile slurm")
    _configured(verb, module)


def _analyze(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "read and judge training logs: those of one training, oldest first"
    verb = verbs.add_parser("analyze", help=about, description=about)
    verb.add_argument("logs", nargs="*", type=Path, metavar="LOG")
    verb.add_argument("--json", action="store_true", help="one JSON object instead of Markdown")
    own = "read this stage's logs and write the analysis into its folder"
    verb.add_argument("--stage", metavar="RUN/STAGE", help=own)
    _configured(verb, "analyze")


def _explain(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "what a training log's numbers mean: logs of one training, or metrics by name"
    verb = verbs.add_parser("explain", help=about, description=about)
    verb.add_argument("what", nargs="+", metavar="METRIC_OR_LOG")
    verb.set_defaults(verb=_verb("explain"))


def _accept(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "promote a checkpoint despite findings, or allow a retraining; your reason is recorded"
    verb = verbs.add_parser("accept", help=about, description=about)
    verb.add_argument("where", metavar="RUN/STAGE")
    verb.add_argument("--reason", required=True, help="why; shown in the report")
    retrain = "allow the next snakemake to archive the old training and train from scratch"
    verb.add_argument("--retrain", action="store_true", help=retrain)
    _configured(verb, "accept")


def _restore(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "bring an archived training back, its work dir with it; the current one is archived instead"
    verb = verbs.add_parser("restore", help=about, description=about)
    verb.add_argument("where", metavar="RUN/STAGE")
    which = "the N of STAGE.old-N; default: the one that the config asks for now, else the newest"
    verb.add_argument("number", nargs="?", type=int, metavar="N", help=which)
    _configured(verb, "restore")


def _probe(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "try each of a stage's communication backends on this machine"
    verb = verbs.add_parser("probe", help=about, description=about)
    verb.add_argument("where", metavar="RUN/STAGE")
    verb.add_argument(
        "--rung", metavar="NAME", help="only this backend, even if it is not one of the stage's"
    )
    verb.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    _configured(verb, "probe")


def _stop(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "end a running training so that it can be resumed, from any machine that shares its folder"
    verb = verbs.add_parser("stop", help=about, description=about)
    verb.add_argument("where", metavar="RUN/STAGE")
    _configured(verb, "stop")


def _watch(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "live view of all stages, from any machine that shares their folder; Ctrl-C ends it"
    verb = verbs.add_parser("watch", help=about, description=about)
    verb.add_argument("which", nargs="*", metavar="RUN[/STAGE]", help="these alone")
    verb.add_argument("--json", action="store_true", help="one JSON object, once")
    verb.add_argument("--every-s", type=float, default=2.0, metavar="S", help="seconds between updates")
    _configured(verb, "watch")


def _control(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "run and watch over the workflow (called by the job of submit)"
    _controlling(verbs.add_parser("control", help=about, description=about), "control")


def run_and_stage(where: str, known: dict[str, list[str]]) -> tuple[str, str]:
    """RUN/STAGE as two names that exist in the config."""
    run, _, stage = where.partition("/")
    if stage in known.get(run, ()):
        return run, stage
    names = ", ".join(f"{name}/{one}" for name, stages in known.items() for one in stages)
    raise UserError(f"{where}: no such stage in the config; use one of: {names}")
