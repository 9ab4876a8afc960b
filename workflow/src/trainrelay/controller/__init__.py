"""The Snakemake controller as its own small Slurm job, which requeues itself at its time limit."""
