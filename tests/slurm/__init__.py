"""Tests on a real Slurm, which `slurm.rig` boots."""
