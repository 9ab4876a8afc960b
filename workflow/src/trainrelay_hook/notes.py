"""This rank's note to the supervisor: what the hook attached to, and what it does not do, with the reason.

What is not there has nothing to say. Beside `attached` and `error`:

    "saves": true, once a training begins whose step checkpoints are saved
    "asks": true, once the script asks whether to save by itself
    "steps": "why no step checkpoints are saved"    "save_error": "why the last one was not saved"
    "resumed": {"step": 1203, "epoch": 2, "iteration": 403}    "not_resumed": "why"
"""

from __future__ import annotations

import os
from contextlib import suppress

from trainrelay_hook import files

TYPE_CHECKING = False  # as in `attach`
if TYPE_CHECKING:
    from typing import Any

_note: dict[str, Any] = {"format": files.FORMAT, "attached": [], "error": None}


def note(**changes: Any) -> None:
    """Changes the note; None takes a word back, except the two that are always there."""
    import json  # noqa: PLC0415

    # The first error stays: it is the cause.
    _note.update(changes, error=_note["error"] or changes.get("error"))
    said = {name: value for name, value in _note.items() if value is not None or name == "error"}
    with suppress(OSError):  # a full disk must not end the training
        files.write(files.NOTE, json.dumps(said))


def checkpoint_requested() -> bool:
    """Whether the supervisor has asked this attempt to save; it is about to be ended.

    For a training script without a runner that the hook knows: True from then on. Each rank may learn of it
    at another iteration, so ask on rank 0 and tell the others. Each call opens a file: once a second is
    enough.
    """
    if files.VARIABLE not in os.environ:
        return False
    if "asks" not in _note:
        note(asks=True)
    return files.requested() > 0


def of(error: BaseException) -> str:
    """An error in one line."""
    return "{}: {}".format(type(error).__name__, error)[:500]
