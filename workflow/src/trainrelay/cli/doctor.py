"""`trainrelay doctor`."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import stage_of
from trainrelay.errors import UserError
from trainrelay.operations.doctor import examine, repair
from trainrelay.system.text import printable

_ASSUMED = (
    "what cannot be read any more is what the config asks for now: if the config or the trainer config was"
    " changed since that training began, revert that before you write this"
)
_ABSENT = "cannot be rebuilt; no checkpoint depends on it, and snakemake writes what it needs of it again"


def run(arguments: argparse.Namespace) -> None:
    """Print what is wrong and what would be there instead; UserError as long as it is not written."""
    at = stage_of(arguments)
    repairs, judged = (repair if arguments.write else examine)(at)
    for one in repairs:
        print(f"{one.problem}; {'it is' if arguments.write else 'would be'} kept as {one.path.name}.damaged")
        lines = [printable(line) for line in one.changes]
        print("\n".join(f"  {line}" for line in [*lines, f"note: {_ASSUMED if one.record else _ABSENT}"]))
    print(
        f"{at.name} {'is' if arguments.write or not repairs else 'would be'} {judged.kind}: {judged.reason}"
    )
    if repairs and not arguments.write:
        raise UserError(f"nothing was written; to write this, run: trainrelay doctor {at.name} --write")
