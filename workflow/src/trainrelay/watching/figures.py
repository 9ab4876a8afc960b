"""A row as plain values for JSON, each figure with its unit in its key (pure)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trainrelay.watching.row import StageRow

_KEYS = {
    "label": "state",
    "live": "supervisor_lives",
    "epochs_done": "epochs_with_checkpoint",
    "losses": "last_losses",
    "fallback_from": "backend_is_fallback_from",
    "attempt": "attempt_number",
    "event": "last_event",
    "event_ago_s": "last_event_ago_s",
}


def figures(row: StageRow) -> dict[str, Any]:
    """What is not known is None; the sparkline's points are `last_losses`."""
    rounded = {key: round(s, 1) for key in ("silent_s", "eta_s", "event_ago_s") if (s := getattr(row, key))}
    return {_KEYS.get(key, key): value for key, value in (asdict(row) | rounded).items()}
