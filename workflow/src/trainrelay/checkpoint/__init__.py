"""Checkpoints: read without running code from them, judged, and handed on.

This is the one public door; torch is not needed and never imported.
"""

from trainrelay.checkpoint.inspection import Inspection, examine, inspect, saved_epoch
from trainrelay.checkpoint.promotion import check_target, promote
from trainrelay.checkpoint.soundness import newest_sound, verify

__all__ = [
    "Inspection",
    "check_target",
    "examine",
    "inspect",
    "newest_sound",
    "promote",
    "saved_epoch",
    "verify",
]
