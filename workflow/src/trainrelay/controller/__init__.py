"""The Snakemake controller as its own small Slurm job, which requeues itself at its time limit."""

from trainrelay.controller.job import ControllerJob, job_script, log_name, of_folder, sbatch_options
from trainrelay.controller.locks import lock_state
from trainrelay.controller.run import control

__all__ = ["ControllerJob", "control", "job_script", "lock_state", "log_name", "of_folder", "sbatch_options"]
