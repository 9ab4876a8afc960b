"""Verbs for one stage: `accept`, `doctor`, `probe`, `promote`, `restore`, `stop`, `train`."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Iterator, Sequence

from trainrelay.cli.common import configured, named_stages, stage_of
from trainrelay.cli.printing import print_json
from trainrelay.errors import Interrupted, TrainrelayError, UserError
from trainrelay.operations.accept import accept_checkpoint, accept_retraining
from trainrelay.operations.doctor import examine, repair
from trainrelay.operations.probe import first_working, probe_rungs, rungs_to_probe, would_use
from trainrelay.operations.promote import promote_stage, report_unfinished
from trainrelay.operations.restore import restore_stage
from trainrelay.operations.stop import stop_stage
from trainrelay.operations.train import train_stage
from trainrelay.records import ProbeResult
from trainrelay.system.say import answer
from trainrelay.training import state
from trainrelay.training.context import StageContext
from trainrelay.training.notify import tell


def accept(arguments: argparse.Namespace) -> None:
    """Write down what is accepted and say what it now allows."""
    facts = state.read(stage_of(arguments))
    if not arguments.reason.strip():
        raise UserError('give a reason: trainrelay accept RUN/STAGE --reason "..."')
    allows = (accept_retraining if arguments.retrain else accept_checkpoint)(facts, arguments.reason)
    answer(f"{facts.name}: {allows}. Now run the snakemake command again.")


def doctor(arguments: argparse.Namespace) -> None:
    """Print what is wrong and what would be there instead; UserError as long as it is not written."""
    at, written = stage_of(arguments), arguments.write
    repairs, judged = repair(at, as_configured=arguments.as_configured) if written else examine(at)
    for one in repairs:
        answer(one.problem)
        for line in one.lines:
            answer(f"  {line}")
    answer(f"{at.name} {'is' if written or not repairs else 'would be'} {judged.kind}: {judged.reason}")
    if repairs and not written:
        how = "to write this, run (damaged files are kept beside it, as NAME.damaged)"
        sure = " --as-configured" if any(one.assumed for one in repairs) else ""
        raise UserError(f"nothing was written; {how}: trainrelay doctor {at.name} --write{sure}")


def probe(arguments: argparse.Namespace) -> None:
    """Print what each rung does here, and which one the stage would use; UserError where none works."""
    at = stage_of(arguments)
    results = probe_rungs(at, rungs_to_probe(at, arguments.rung))
    if arguments.json:
        found = [result.model_dump(mode="json") for result in results]
        host, works = socket.gethostname(), first_working(results)
        print_json({"stage": at.name, "host": host, "works": works, "results": found})
    else:
        answer("\n".join(_table(results)))
    said = would_use(at, results)
    if not arguments.json:
        answer(said)


def promote(arguments: argparse.Namespace) -> None:
    """Promote a stage's checkpoint, or report why not."""
    at = stage_of(arguments)
    try:
        promote_stage(at)
    except TrainrelayError as error:
        report_unfinished(at)
        tell(at, error)
        raise
    tell(at)


def restore(arguments: argparse.Namespace) -> None:
    """Move an archived training back, or nothing."""
    restore_stage(stage_of(arguments), arguments.number)


def stop(arguments: argparse.Namespace) -> None:
    """Ask for the stop of each and wait for it; UserError where nobody does it."""
    for at in named_stages(configured(arguments), arguments.which):
        stop_stage(at)


def train(arguments: argparse.Namespace) -> None:
    """Train what is not trained yet; every end but a complete training raises."""
    try:
        _train(stage_of(arguments))
    except KeyboardInterrupt:  # a signal while nothing listened to it yet
        tell(stage_of(arguments), Interrupted("stopped"))
        raise


def _train(at: StageContext) -> None:
    try:
        train_stage(at)
    except TrainrelayError as error:
        if isinstance(error, UserError):
            # Every training would wait for this import before it starts.
            from trainrelay.operations.report import report_failed_start  # noqa: PLC0415

            report_failed_start(at, str(error))
        tell(at, error)
        raise
    tell(at)


def _table(results: Sequence[ProbeResult]) -> Iterator[str]:
    sizes = sorted({size for result in results for size in result.gb_per_s})
    head = ["backend", "result", *(f"GB/s at {size} MB" for size in sizes), "error"]
    rows = [head, *(_row(result, sizes) for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(result: ProbeResult, sizes: Sequence[int]) -> list[str]:
    speeds = [f"{result.gb_per_s[size]:.3g}" if size in result.gb_per_s else "-" for size in sizes]
    return [result.rung, result.outcome, *speeds, result.error or ""]
