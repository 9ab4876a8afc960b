"""One writer per stage, across the hosts that share its folder.

In `<stage_dir>/lease/` is a claim per fencing token (000007.json), made exclusively, and beside it the beat
of its owner (000007.beat), a counter that moves for as long as the owner's process runs. The owner of the
highest token is the one writer. No rule looks at file times, at another host's clock, or at locks.
"""

from trainrelay.supervise.lease.acquisition import LivingOwner, acquire
from trainrelay.supervise.lease.claim import Claim, owner_of, what_to_run
from trainrelay.supervise.lease.lease import Lease
from trainrelay.supervise.lease.observe import LastOwner, Observer

__all__ = ["Claim", "LastOwner", "Lease", "LivingOwner", "Observer", "acquire", "owner_of", "what_to_run"]
