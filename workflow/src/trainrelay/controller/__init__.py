"""The Snakemake controller as a small Slurm job of its own, which goes on past its time limit."""

from trainrelay.controller.locks import locked_by_another
from trainrelay.controller.order import Order, comment_of, job_script, log_name, sbatch_argv
from trainrelay.controller.run import control

__all__ = ["Order", "comment_of", "control", "job_script", "locked_by_another", "log_name", "sbatch_argv"]
