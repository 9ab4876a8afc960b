"""A row as plain values for JSON, each figure with its unit in its key (pure)."""

from __future__ import annotations

from typing import Any

from trainrelay.watching.row import StageRow


def figures(row: StageRow) -> dict[str, Any]:
    """What is not known is None; the sparkline's points are `last_losses`."""
    return {
        "run": row.run,
        "stage": row.stage,
        "state": row.label,
        "reason": row.reason,
        "supervisor_lives": row.live,
        "silent_s": _rounded(row.silent_s),
        "epoch": row.epoch,
        "epochs": row.epochs,
        "epochs_with_checkpoint": row.epochs_done,
        "iteration": row.iteration,
        "iterations_per_epoch": row.iterations_per_epoch,
        "iterations_per_s": row.iterations_per_s,
        "iterations_lost": row.iterations_lost,
        "loss": row.loss,
        "last_losses": list(row.losses),
        "eta_s": _rounded(row.eta_s),
        "backend": row.backend,
        "backend_is_fallback_from": row.fallback_from,
        "attempt_number": row.attempt,
        "host": row.host,
        "last_event": row.event,
        "last_event_ago_s": _rounded(row.event_ago_s),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
