"""Whether this process may start ranks on so many nodes (pure)."""

from __future__ import annotations

from collections.abc import Mapping

_TYPE = "run: snakemake --profile slurm"


def nodes_missing(nodes: int, environment: Mapping[str, str]) -> str | None:
    """Why a training over `nodes` nodes cannot be started from here, and what to run; None: it can.

    The supervisor must run on a node of the job itself, since the ranks meet where it runs.
    """
    if nodes == 1:
        return None
    asked = f"resources.nodes is {nodes}, and"
    if "SLURM_JOB_ID" not in environment or "SLURMD_NODENAME" not in environment:
        return f"{asked} this is not a node of a Slurm job; {_TYPE}"
    held = environment.get("SLURM_JOB_NUM_NODES", "1")
    if not (held.isascii() and held.isdecimal() and int(held) >= nodes):
        return f"{asked} this Slurm job holds {held}; end it and {_TYPE}, or set nodes to {held}"
    if environment.get("SLURM_NODEID", "0") != "0":
        return f"{asked} this is not the first node of its Slurm job; {_TYPE}"
    return None
