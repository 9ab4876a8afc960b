"""One stage's training: started, watched, tried again where that helps, ended and recorded."""

from trainrelay.supervise.ask import ask_to_stop, order_file
from trainrelay.supervise.decide import Finish, NeedsDecision, StopResumably
from trainrelay.supervise.display import Speed, display, duration, left_s
from trainrelay.supervise.events import StageEvent, add_event, read_events
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.lease import (
    Claim,
    LastOwner,
    Lease,
    LivingOwner,
    Observer,
    acquire,
    owner_of,
    what_to_type,
)
from trainrelay.supervise.nodes import nodes_missing
from trainrelay.supervise.probe import probe_rung
from trainrelay.supervise.progress_tracker import ProgressTracker
from trainrelay.supervise.recover import orphaned, refuse_beside_living, settle, settle_elsewhere
from trainrelay.supervise.session import Outcome, train
from trainrelay.supervise.stop import stop_requests
from trainrelay.system.tail import Tail
from trainrelay.system.text import printable

__all__ = [
    "Claim",
    "Finish",
    "LastOwner",
    "Lease",
    "LivingOwner",
    "NeedsDecision",
    "Observer",
    "Outcome",
    "ProgressTracker",
    "Speed",
    "StageEvent",
    "StageJob",
    "StopResumably",
    "Tail",
    "acquire",
    "add_event",
    "ask_to_stop",
    "display",
    "duration",
    "left_s",
    "nodes_missing",
    "order_file",
    "orphaned",
    "owner_of",
    "printable",
    "probe_rung",
    "read_events",
    "refuse_beside_living",
    "settle",
    "settle_elsewhere",
    "stop_requests",
    "train",
    "what_to_type",
]
