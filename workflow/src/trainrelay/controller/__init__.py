"""The Snakemake controller as its own small Slurm job, which requeues itself at its time limit."""

from trainrelay.controller.locks import locked_by_another
from trainrelay.controller.order import Order, comment_of, job_script, log_name, sbatch_options
from trainrelay.controller.run import control

__all__ = ["Order", "comment_of", "control", "job_script", "locked_by_another", "log_name", "sbatch_options"]
