"""The programs that a rig is made of, and installing them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from slurm.rig.daemons import on_path
from slurm.rig.errors import RigError

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/system-packages.sh"
PROGRAMS = (
    *("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd"),
    *("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr"),
)


def missing() -> list[str]:
    """The programs that are not installed here."""
    return [program for program in PROGRAMS if on_path(program) is None]


def may_install() -> bool:
    """Whether programs may be installed without asking: on a CI machine."""
    return os.environ.get("CI") == "true" and shutil.which("apt-get") is not None


def install() -> None:
    """Installs what is missing; the script says what it does."""
    done = subprocess.run([str(SCRIPT), "--install", "slurm"], check=False)
    if done.returncode != 0 or missing():
        raise RigError(f"the packages could not be installed; still missing: {', '.join(missing())}")


def require(*, install_missing: bool) -> None:
    """Returns when every program is here; RigError saying what to type else."""
    absent = missing()
    if not absent:
        return
    if not install_missing:
        raise RigError(
            f"Slurm is not installed here ({', '.join(absent[:3])} and others are missing); "
            "type: make slurm-rig INSTALL=1"
        )
    install()
