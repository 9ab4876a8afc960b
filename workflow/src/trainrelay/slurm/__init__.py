"""Slurm: asked, read and given orders through the executor plugin's own modules; nobody else asks it."""

from snakemake_executor_plugin_submitit.environment import EXCLUDE_VARIABLE, own_defaults, own_run, scrubbed
from snakemake_executor_plugin_submitit.resources import Request, sbatch_flags
from snakemake_executor_plugin_submitit.slurm import QueueRow, unconfigured
from snakemake_executor_plugin_submitit.status import ENDED, RUNNING
