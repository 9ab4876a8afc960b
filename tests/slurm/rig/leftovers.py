"""Every process of a rig, its jobs' among them, and the cgroups that its nodes made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from slurm.rig.conf import Layout
from slurm.rig.daemons import TAG, lives, variables
from slurm.rig.machine import CGROUPS


def processes(folder: Path, layout: Layout | None) -> list[psutil.Process]:
    """What lives of the rig in that folder; without a layout (half a boot) what the environment tells."""
    found = {process for process in psutil.process_iter() if _belongs(folder, variables(process))}
    if layout:
        found |= set(_in_cgroups(layout))
    return [process for process in found if lives(process)]


def _belongs(folder: Path, seen: dict[str, str]) -> bool:
    in_a_job = "SLURM_JOB_ID" in seen and seen.get("SLURM_CONF") == str(folder / "slurm.conf")
    return seen.get(TAG) == str(folder) or in_a_job


def _in_cgroups(layout: Layout) -> Iterator[psutil.Process]:
    """A job's processes, those too that changed their environment or outlived their parents."""
    for cgroup in node_cgroups(layout):
        for listed in cgroup.rglob("cgroup.procs"):
            try:
                pids = listed.read_text(encoding="ascii").split()
            except OSError:
                continue
            yield from (psutil.Process(int(pid)) for pid in pids if psutil.pid_exists(int(pid)))


def node_cgroups(layout: Layout, mounted: Path = CGROUPS) -> list[Path]:
    """The cgroups named after the rig's nodes, in every hierarchy."""
    if layout.cgroup == "cgroup/v2":
        return [path for node in layout.nodes for path in mounted.glob(f"**/{node}_slurmstepd.scope")]
    return [path for node in layout.nodes for path in mounted.glob(f"*/slurm_{node}")]


def prepare_cgroups(layout: Layout, mounted: Path = CGROUPS) -> None:
    """The folder that slurmd expects and systemd would have made."""
    if layout.cgroup == "cgroup/v2":
        (mounted / "system.slice").mkdir(exist_ok=True)


def remove_cgroups(layout: Layout) -> None:
    """Removes the empty cgroups that slurmd leaves behind."""
    for cgroup in node_cgroups(layout):
        for folder in sorted([cgroup, *cgroup.glob("**/")], reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
