"""What is in a lease folder. It may be damaged or hostile, so every field is bounded and printable."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from trainrelay.records import Place, Record
from trainrelay.system.alive import Fate

Digits = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")]
OwnerId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]

MAX_TOKEN = 999_999_999_999  # the 12 digits that the name of a claim may have


class Claim(Record):
    """NNNNNN.json: one supervisor's claim on the stage; never changed once it is there."""

    token: int = Field(ge=1, lt=MAX_TOKEN)  # the number in its name: the highest owns the stage
    owner: OwnerId  # random: the same number can be given again if you moved files
    place: Place  # where it runs
    pid: int = Field(ge=1, lt=2**31)
    started_ticks: int = Field(ge=0)  # of the process, in the kernel's ticks since boot
    slurm_job: Digits | None = None  # in which it runs
    slurm_restarts: int = Field(default=0, ge=0, le=10**6)  # how often that job had been requeued by then
    beat_s: float = Field(gt=0, le=600, allow_inf_nan=False)  # seconds between two beats
    since_s: float = Field(ge=0, le=1e11, allow_inf_nan=False)  # Unix time by the owner's clock; shown only
    taken_from: Claim | None = None  # who may still live; see Beat.began


class Beat(Record):
    """NNNNNN.beat: replaced every `beat_s`; `released` in the last one."""

    owner: OwnerId  # as in the claim
    counter: int = Field(ge=0)  # of beats
    began: bool = False  # that a former owner may still live has been written down
    released: bool = False


def owner_of(claim: Claim) -> str:
    """`the supervisor on node7 (pid 4711, Slurm job 991)`."""
    job = f", Slurm job {claim.slurm_job}" if claim.slurm_job else ""
    return f"the supervisor on {claim.place.host} (pid {claim.pid}{job})"


def what_to_run(claim: Claim, fate: Fate) -> str:
    """What to run about an owner that does not answer a request to stop."""
    if fate == "stopped":
        return f"let it continue with: kill -CONT {claim.pid}"
    if fate == "runs":
        return f"wait for it, or stop it with: kill {claim.pid}"
    if claim.slurm_job:
        return f"wait for it, or stop it with: scancel {claim.slurm_job}"
    return f"wait for it, or stop it with: ssh {claim.place.host} kill {claim.pid}"
