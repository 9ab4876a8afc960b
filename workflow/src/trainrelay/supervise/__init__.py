"""One stage's training: started, watched, tried again where that helps, ended and recorded."""

from trainrelay.supervise.believed_progress import BelievedProgress
from trainrelay.supervise.display import Display, Speed, duration, left_s
from trainrelay.supervise.events import StageEvent, add_event, read_events
from trainrelay.supervise.job import InitialCheckpoint, StageJob, StepSaving
from trainrelay.supervise.lease.acquisition import LivingOwner, acquire
from trainrelay.supervise.lease.claim import Claim, owner_of, what_to_run
from trainrelay.supervise.lease.lease import Lease
from trainrelay.supervise.lease.observe import LastOwner, Observer
from trainrelay.supervise.nodes import nodes_missing
from trainrelay.supervise.probe import probe_rung
from trainrelay.supervise.recover import (
    close_attempts_elsewhere,
    close_open_attempts,
    orphaned_attempt,
    refuse_beside_living,
)
from trainrelay.supervise.session import train
from trainrelay.supervise.stop import ask_to_stop, order_file, stop_requests
from trainrelay.supervise.telemetry import Telemetry, newest_telemetry
