"""What trainrelay runs inside the trainer: a stop before a step that would spoil it, and step checkpoints.

Loaded by supervise/hangs/startup/sitecustomize.py in every rank of an attempt, before the trainer's first
line, and in the processes that a rank starts. Python >= 3.8, torch >= 1.9. It imports nothing of trainrelay,
and torch only after the trainer did. Whatever goes wrong in here, the trainer runs as without it. What each
file is for: docs/ARCHITECTURE.md.

A training script without a runner that is known here saves at the supervisor's request in three lines:

    from trainrelay_hook import checkpoint_requested
    if checkpoint_requested():  # at the end of an iteration, asked on one rank, which tells the others
        save()
"""

from trainrelay_hook.attach import start
from trainrelay_hook.files import checkpoint_requested

__all__ = ["checkpoint_requested", "start"]
