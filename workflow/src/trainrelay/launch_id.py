"""One call of Snakemake and all that Slurm makes of it, requeues and fresh submissions included.

Attempts in vain are counted over all of these; a person who types the same again begins a new count.
"""

from __future__ import annotations

import os
import uuid

LAUNCH_VARIABLE = "TRAINRELAY_LAUNCH"


def begin() -> None:
    """Names this call in the environment of every job; a job keeps the name that it came with."""
    os.environ.setdefault(LAUNCH_VARIABLE, str(uuid.uuid4()))
