"""One stage's training: started, watched, ended and recorded."""

from trainrelay.supervise.job import StageJob
from trainrelay.supervise.loop import train
from trainrelay.supervise.recover import settle

__all__ = ["StageJob", "settle", "train"]
