"""The sentences about leases (pure). What a claim holds is bounded by its model, so it is printable."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

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
        f" and {conclusion.reason}; {what_to_type(claim, fate) if fate == 'stopped' else stop}"
    )


def what_to_type(claim: Claim, fate: Fate) -> str:
    """What to run about an owner that does not answer a request to stop."""
    if fate == "stopped":
        return f"let it continue with: kill -CONT {claim.pid}"
    if fate == "runs":
        return f"wait for it, or stop it with: kill {claim.pid}"
    if claim.slurm_job:
        return f"wait for it, or stop it with: scancel {claim.slurm_job}"
    return f"wait for it, or stop it with: ssh {claim.place.host} kill {claim.pid}"


def waiting(claim: Claim, conclusion: Conclusion) -> str:
    """What is waited for while an owner is observed."""
    return (
        f"{owner_of(claim)} holds the lease, {conclusion.reason}; taken over if its counter does not move for"
        f" {conclusion.wait_s:.0f} s more"
    )


def taken_over(claim: Claim, conclusion: Conclusion) -> str:
    """That the lease was taken over, and why; empty if its owner released it."""
    if conclusion.kind == "released":
        return ""
    return f"took the lease over from {owner_of(claim)}: {conclusion.reason}"


def letting_notice(claim: Claim, wait_s: float) -> str:
    """Why the new owner does not begin at once."""
    return f"waiting {wait_s:.0f} s so that {owner_of(claim)} notices, if it is still alive"


def overtaken(name: str, mine: int, taker: Claim | None) -> str:
    """The message to a fenced owner."""
    who = owner_of(taker) if taker else "another supervisor"
    return (
        f"{name}: {who} took this stage over while this supervisor (lease {mine}) did not respond or its"
        " job was given up by Slurm, so this one writes nothing more; the training continues there, check it"
        " with: trainrelay plan"
    )


def displaced(name: str, claim_file: Path) -> str:
    """The message to an owner whose claim is gone."""
    return (
        f"{name}: {claim_file}, the lease of this supervisor, was moved, deleted or replaced, so it writes"
        " nothing more; start again with: snakemake --profile local"
    )
