"""A real Slurm on one machine: munged, MariaDB, slurmdbd, slurmctld and two slurmd with 8 fake A40s each.

    PYTHONPATH=tests python -m slurm.rig up      the same as: make slurm-rig

Everything lies in one folder (environment variable SLURM_RIG_FOLDER, default in the temporary folder).
"""

from slurm.rig.errors import RigError
from slurm.rig.rig import Rig, default_folder, why_no_rig
from slurm.rig.waiting import wait_for

__all__ = ["Rig", "RigError", "default_folder", "wait_for", "why_no_rig"]
