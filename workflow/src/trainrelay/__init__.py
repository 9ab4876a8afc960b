"""Multi-stage deep-learning training as a Snakemake DAG, on one machine or on Slurm."""

__version__ = "0.1.0"
