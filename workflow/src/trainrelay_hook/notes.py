"""This rank's note to the supervisor: what the hook attached to, and what it does not do, with the reason.

What is not there has nothing to say. Beside `attached` and `error`:

    "saves": true, once a training begins whose step checkpoints are saved
    "steps": "why no step checkpoints are saved"    "save_error": "why the last one was not saved"
    "resumed": {"step": 1203, "epoch": 2, "iteration": 403}    "not_resumed": "why"
"""

from __future__ import annotations

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


def of(error: BaseException) -> str:
    """An error in one line."""
    return "{}: {}".format(type(error).__name__, error)[:500]
