"""One call of Snakemake and all that Slurm makes of it, requeues and fresh submissions included.

Attempts without a new checkpoint are counted over all of these; each call of snakemake starts a new count.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections.abc import Iterable

from trainrelay.system.hints import PROFILE_VARIABLE, TYPED_VARIABLE, use_profile

LAUNCH_VARIABLE = "TRAINRELAY_LAUNCH"
OF_CONTROLLER = "controller job "  # how the launch begins that `trainrelay submit` makes


def begin(configfiles: Iterable[object] = ()) -> None:
    """Names this call, its config and profile in every job's environment; a job keeps what it came with."""
    os.environ.setdefault(LAUNCH_VARIABLE, str(uuid.uuid4()))
    for name in list(configfiles)[-1:]:
        os.environ.setdefault(TYPED_VARIABLE, str(name))
    typed = re.search(r" --profile[ =](\S+)", " ".join(sys.argv))
    if typed and PROFILE_VARIABLE not in os.environ:
        use_profile(typed[1])
