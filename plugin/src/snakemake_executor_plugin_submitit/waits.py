"""Why a job waits, by Slurm's names: what ends only when you do something, and what that is (pure)."""

from __future__ import annotations

import re

_CHANGE = "change that, then run: scancel {job}, and the same command again"
_RELEASE = "to let it start, run: scontrol release {job}"

# The names are those of Slurm 22.05's slurmctld and squeue; limits on the number of a user's jobs
# pass, so they are no reason here. The first match counts.
_HELP = {
    r"JobHeldUser": f"it is held; {_RELEASE}",
    r"JobHeldAdmin": "an administrator holds it; ask those who run the cluster",
    r"(launch failed|user env retrieval failed) requeued held": "it failed to start on its node, so Slurm"
    f" holds it; {_RELEASE}; if it is held again, ask those who run the cluster about that node",
    r"job requeued in held state|JobHoldMaxRequeue": f"Slurm holds it after a requeue; {_RELEASE}",
    r"PartitionTimeLimit": f"its runtime is above its partition's limit; {_CHANGE}",
    r"(Association|QOS)TimeLimit|(Assoc|QOS)MaxWallDurationPerJobLimit": "its runtime is above the limit of"
    f" its account or QOS; {_CHANGE}",
    r"PartitionNodeLimit": f"it asks for more or fewer nodes than its partition gives to one job; {_CHANGE}",
    r"(Assoc|QOS)Max\w+Per(Job|Node)(Limit)?|MaxMemPerLimit": "it asks for more than its account, QOS or"
    f" partition gives to one job; {_CHANGE}",
    r"QOSMin\w+": f"it asks for less than its QOS demands of one job; {_CHANGE}",
    r"BadConstraints": f"no node has all that it asks for (constraint, GPUs, cores, memory); {_CHANGE}",
    r"InvalidAccount|AccountNotAllowed": f"its account may not use its partition, or is none; {_CHANGE}",
    r"InvalidQOS|QOSNotAllowed": f"its QOS may not be used by its account or partition; {_CHANGE}",
    r"(Assoc|QOS)(Grp|Max)(?!\w*Jobs?).+|Max(?!\w*Jobs)\w+PerAccount|(Association|QOS)ResourceLimit": "it may"
    " never start: this limit of its account or QOS is used up, or below what it asks for; see:"
    " sacctmgr show assoc, and: sacctmgr show qos",
    r"DependencyNeverSatisfied": f"it depends on a job that did not end as demanded; {_CHANGE}",
    r"ReservationDeleted": f"its reservation is gone; {_CHANGE}",
    r"ReqNodeNotAvail.*|Nodes required for job are DOWN.*": "it waits for nodes that are down, drained or"
    " reserved; it starts when they are back, and why they are away says: sinfo -R",
    r"Partition(Down|Inactive)": f"its partition is closed; it starts when that is open again, or {_CHANGE}",
}


def help_for(reason: str, job_id: str) -> str:
    """One sentence; empty for a reason that passes by itself, and for one that we do not know."""
    name = reason.replace("_", " ").strip()
    found = (text for pattern, text in _HELP.items() if re.fullmatch(pattern, name))
    return next(found, "").format(job=job_id)
