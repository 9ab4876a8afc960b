"""`trainrelay plan`."""

from __future__ import annotations

import argparse
import functools
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from trainrelay.cli.common import configured, named_stages
from trainrelay.cli.printing import print_json
from trainrelay.errors import SlurmError, UserError
from trainrelay.preflight.cluster import chain_limit, partition_checks, slurmctld_check
from trainrelay.preflight.knowledge import refuse_wrong_knowledge
from trainrelay.slurm import Request
from trainrelay.slurm.ask import could_start, installed
from trainrelay.slurm.cluster import JobLimits, Partition, job_limits, partitions
from trainrelay.system.hints import with_configfile
from trainrelay.system.say import answer
from trainrelay.text import count
from trainrelay.training.plan import COSTS, StagePlan, plan

_NARROWEST_CHARS = 40  # a narrower terminal would get a word a line
_TITLE_CHARS = 11  # "  state    "

Starts = Mapping[str, str]  # by RUN/STAGE: when it could start


def run(arguments: argparse.Namespace) -> None:
    """Print every stage's state, reason, price and exact command; UserError where one is refused."""
    refuse_wrong_knowledge(config := configured(arguments))
    named = [at.name for at in named_stages(config, arguments.which)]
    spelled = functools.partial(with_configfile, configfile=arguments.configfile)
    plans = [p for p in plan(config) if p.at.name in named]
    plans = [replace(p, reason=spelled(p.reason), refused=tuple(map(spelled, p.refused))) for p in plans]
    starts = starts_of(plans, datetime.now()) if arguments.when else {}
    if arguments.json:
        print_json([_as_json(planned, starts) for planned in plans])
    else:
        # Sentences are broken at the terminal's edge, and nowhere if it is no terminal.
        edge = max(shutil.get_terminal_size().columns, _NARROWEST_CHARS) if sys.stdout.isatty() else None
        parts = ["\n".join(_lines(planned, starts, edge)) for planned in plans]
        answer("\n\n".join([*parts, *_total(plans)]))
    if refused := [planned.at.name for planned in plans if planned.action == "refuse"]:
        raise UserError(f"refused (see above): {', '.join(refused)}")


def _lines(planned: StagePlan, starts: Starts, width_chars: int | None) -> Iterator[str]:
    yield f"{planned.at.name}  {planned.doing}"
    lines = [_titled(title, text) for title, text in _sentences(planned, starts)]
    if width_chars is not None:
        wrapper = textwrap.TextWrapper(width_chars, break_long_words=False, break_on_hyphens=False)
        wrapper.subsequent_indent = " " * _TITLE_CHARS
        lines = [part for line in lines for part in wrapper.wrap(line)]
    yield from lines
    # Never broken by us, so that they can be copied.
    env = [f"{name}={shlex.quote(value)}" for name, value in planned.launch.env.items()]
    yield _titled("sbatch", shlex.join(planned.sbatch))
    yield _titled("cwd", planned.launch.cwd)
    yield _titled("command", " ".join([*env, shlex.join(planned.launch.argv)]))


def _sentences(planned: StagePlan, starts: Starts) -> Iterator[tuple[str, str]]:
    yield "state", f"{planned.state}: {planned.reason}"
    yield from (("refused", why) for why in planned.refused)
    yield from (("changed", str(difference)) for difference in planned.differences)
    yield "request", planned.asks()
    yield "costs", price(planned)
    if when := starts.get(planned.at.name):
        yield "when", when
    yield from (("note", note) for note in planned.notes)


def _titled(title: str, text: str) -> str:
    return f"  {title:<{_TITLE_CHARS - 2}}{text}"


def price(planned: StagePlan) -> str:
    """What a stage would still cost, what it has cost, and how to learn what is not known yet."""
    unit, so_far = _unit(planned), f"{_hours(planned.gpu_h)} spent so far"
    if planned.action not in COSTS:
        return f"nothing more now; {so_far} ({unit})" if planned.gpu_h else "nothing now"
    if planned.price is None:
        spent = f" ({so_far})" if planned.gpu_h else ""
        watch = f"trainrelay watch {planned.at.name}"
        return f"{unit} unknown{spent} until an attempt has trained; {watch} then shows the time left"
    spent = f"; {so_far}" if planned.gpu_h else ""
    left = planned.price
    by_epoch = f"{left.epochs} epochs x {left.iters_per_epoch}"
    iterations = by_epoch if planned.at.settings.unit == "epoch" else f"{left.iterations}"
    how = f"{iterations} iterations x {left.s_per_iter:.3g} s"
    most = "at most " if planned.action == "wait" else ""  # what it trained since its checkpoint is in it
    return f"{most}{_hours(left.gpu_h)} {unit} ({how} x {count(left.ranks, 'rank')}{spent})"


def _hours(hours: float) -> str:
    return "under 0.1" if 0 < hours < 0.05 else f"{hours:.1f}"


def _unit(planned: StagePlan) -> str:
    return "GPU-hours" if planned.at.trainer_settings.device == "cuda" else "process-hours"


def _total(plans: Sequence[StagePlan]) -> Iterator[str]:
    """What all of it would cost, where it is more than one line's sum."""
    training = [planned for planned in plans if planned.action in COSTS]
    known = [planned.price.gpu_h for planned in training if planned.price]
    if len(training) < 2 or not known:
        return
    unknown = [one.at.name for one in training if one.price is None]
    units = dict.fromkeys(_unit(planned) for planned in training)
    apart = f"; not counting {', '.join(unknown)}, whose cost is unknown" if unknown else ""
    yield f"in all {sum(known):.1f} {' and '.join(units)} still to spend{apart}"


def starts_of(plans: Sequence[StagePlan], now: datetime) -> dict[str, str]:
    """When each stage could start now, as Slurm says; nothing is submitted."""
    here = installed()
    known, limits = list[Partition](), JobLimits()
    with suppress(SlurmError):  # then Slurm's answer to the request says why
        if here and any(planned.trains for planned in plans):
            known, limits = partitions(), job_limits()
    open_ones = {one.at.name for one in plans if one.action != "nothing"}
    ask = functools.cache(lambda flags: _slurms_answer(flags, now, here=here))  # once for equal requests
    found: dict[str, str] = {}
    chains: dict[str, list[Request]] = {}
    for planned in plans:
        at, parent = planned.at, planned.at.parent
        if planned.trains:
            chains.setdefault(at.run, []).append(planned.slurm)
        waits = parent.stage if parent and parent.name in open_ones else None
        checked = partition_checks(planned.slurm, known, (), limits) if known else ()
        never = [one.what for one in checked if one.kind == "fix"]
        when = _why_not_asked(planned, waits, never) or ask(planned.sbatch)
        chain = chain_limit(chains.get(at.run, []), known, limits)
        found[at.name] = f"{when}; with --profile slurm-chain: {chain}" if chain else when
    return found


def _why_not_asked(planned: StagePlan, waits_for: str | None, never: Sequence[str]) -> str | None:
    """Why Slurm is not asked; None: it is."""
    if not planned.trains:
        return {"wait": "it trains now"}.get(planned.action, "starts nothing")
    if never:  # Slurm accepts it, and lets it wait for good
        return f"never: {never[0]}"
    return f"after {waits_for} has been promoted; then Slurm decides" if waits_for else None


def _slurms_answer(flags: tuple[str, ...], now: datetime, *, here: bool) -> str:
    if not here:
        return "unknown: there is no sbatch on this machine"
    try:
        return could_start(flags).words(now)
    except SlurmError as error:
        answers = slurmctld_check()
        return f"Slurm refuses the request: {error}" if answers.kind == "ok" else answers.what


def _as_json(planned: StagePlan, starts: Starts) -> dict[str, Any]:
    return {
        "run": planned.at.run,
        "stage": planned.at.stage,
        "state": planned.state,
        "action": planned.action,
        "trains": planned.trains,
        "reason": planned.reason,
        "refused": list(planned.refused),
        "doing": planned.doing,
        "differences": [str(difference) for difference in planned.differences],
        "notes": list(planned.notes),
        "request": planned.asks(),
        "argv": list(planned.launch.argv),
        "env": dict(planned.launch.env),
        "cwd": planned.launch.cwd,
        "sbatch": list(planned.sbatch),
        "gpu_h_so_far": round(planned.gpu_h, 3),
        "gpu_h_left": None if planned.gpu_h_left is None else round(planned.gpu_h_left, 3),
        "when": starts.get(planned.at.name),
    }
