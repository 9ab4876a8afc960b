"""`trainrelay doctor`."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import stage_of
from trainrelay.errors import UserError
from trainrelay.operations.doctor import examine, repair
from trainrelay.system.say import answer


def run(arguments: argparse.Namespace) -> None:
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
