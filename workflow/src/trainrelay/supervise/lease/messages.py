"""Who holds a lease, and what to run about it (pure). A claim is bounded by its model, so it is printable."""

from __future__ import annotations

from datetime import datetime

from trainrelay.supervise.lease.claim import Claim
from trainrelay.supervise.lease.rules import Conclusion
from trainrelay.system.alive import Fate


def owner_of(claim: Claim) -> str:
    """`the supervisor on node7 (pid 4711, Slurm job 991)`."""
    job = f", Slurm job {claim.slurm_job}" if claim.slurm_job else ""
    return f"the supervisor on {claim.place.host} (pid {claim.pid}{job})"


def refused(name: str, claim: Claim, conclusion: Conclusion, fate: Fate) -> str:
    """Why nothing is started beside a living owner."""
    since = datetime.fromtimestamp(claim.since_s).strftime("%Y-%m-%d %H:%M:%S")
    stop = f"wait for it, or stop it with: trainrelay stop {name}"
    return (
        f"{name} is training already: {owner_of(claim)} holds its lease since {since} by that host's clock,"
        f" and {conclusion.reason}; {what_to_run(claim, fate) if fate == 'stopped' else stop}"
    )


def what_to_run(claim: Claim, fate: Fate) -> str:
    """What to run about an owner that does not answer a request to stop."""
    if fate == "stopped":
        return f"let it continue with: kill -CONT {claim.pid}"
    if fate == "runs":
        return f"wait for it, or stop it with: kill {claim.pid}"
    if claim.slurm_job:
        return f"wait for it, or stop it with: scancel {claim.slurm_job}"
    return f"wait for it, or stop it with: ssh {claim.place.host} kill {claim.pid}"
