"""The state of all stages, seen over the shared files alone, from any machine."""

from trainrelay.watching.row import StageRow, with_queued_job
from trainrelay.watching.stage import StageWatch
from trainrelay.watching.table import Column, fitting_columns, remarks
