"""One stage's training: started, watched, ended and recorded."""

from trainrelay.supervise.job import StageJob
from trainrelay.supervise.loop import train

__all__ = ["StageJob", "train"]
