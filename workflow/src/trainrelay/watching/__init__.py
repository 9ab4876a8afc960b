"""The state of all stages, seen over the shared files alone, from any machine."""

from trainrelay.watching.figures import figures
from trainrelay.watching.row import StageRow, queued
from trainrelay.watching.stage import StageWatch
from trainrelay.watching.table import Column, chosen, remarks

__all__ = ["Column", "StageRow", "StageWatch", "chosen", "figures", "queued", "remarks"]
