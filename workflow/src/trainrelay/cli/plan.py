"""`trainrelay plan`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from typing import Any

import orjson

from trainrelay.cli.common import configured
from trainrelay.plan import StagePlan, plan


def run(arguments: argparse.Namespace) -> None:
    """Print every stage's state, reason and exact command."""
    config = configured(arguments)
    plans = plan(config)
    if arguments.json:
        print(orjson.dumps([_plain(planned) for planned in plans], option=orjson.OPT_INDENT_2).decode())
        return
    print("\n\n".join("\n".join(_lines(planned)) for planned in plans))


def _lines(planned: StagePlan) -> Iterator[str]:
    yield f"{planned.run}/{planned.stage}  {planned.doing}"
    yield f"  state    {planned.state}: {planned.reason}"
    for difference in planned.differences:
        yield f"  changed  {difference}"
    yield f"  asks     {planned.asks()}"
    yield f"  folder   {planned.launch.cwd}"
    yield f"  command  {_typed(planned)}"
    for note in planned.notes:
        yield f"  note     {note}"


def _typed(planned: StagePlan) -> str:
    """The command as a person would type it."""
    env = [f"{name}={shlex.quote(value)}" for name, value in planned.launch.env.items()]
    return " ".join([*env, shlex.join(planned.launch.argv)])


def _plain(planned: StagePlan) -> dict[str, Any]:
    return {
        "run": planned.run,
        "stage": planned.stage,
        "state": planned.state,
        "action": planned.action,
        "trains": planned.trains,
        "reason": planned.reason,
        "doing": planned.doing,
        "differences": [str(difference) for difference in planned.differences],
        "notes": list(planned.notes),
        "asks": planned.asks(),
        "argv": list(planned.launch.argv),
        "env": dict(planned.launch.env),
        "cwd": planned.launch.cwd,
        "gpu_h_so_far": round(planned.gpu_h, 3),
    }
