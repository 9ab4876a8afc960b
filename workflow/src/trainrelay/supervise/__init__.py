"""One stage's training: started, watched, tried again where that helps, ended and recorded."""

from trainrelay.supervise.decide import Done, Final, Stop
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.lease import Lease, acquire
from trainrelay.supervise.probe import probe_rung
from trainrelay.supervise.recover import settle
from trainrelay.supervise.session import Outcome, train
from trainrelay.supervise.stop import stop_requests

__all__ = [
    "Done",
    "Final",
    "Lease",
    "Outcome",
    "StageJob",
    "Stop",
    "acquire",
    "probe_rung",
    "settle",
    "stop_requests",
    "train",
]
