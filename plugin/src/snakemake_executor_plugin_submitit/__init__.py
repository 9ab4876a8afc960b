"""Snakemake executor plugin that submits jobs to Slurm with submitit.

A job that is warned of its end (time limit, preemption) stops its command cleanly and is requeued under its
own id; a controller that was killed finds its live jobs again. Snakemake finds the plugin by its name.
"""

from importlib import import_module
from typing import Any

_HOMES = {"Executor": "executor", "ExecutorSettings": "settings", "common_settings": "executor"}


def __getattr__(name: str) -> Any:
    """Loaded when Snakemake asks: a job that starts on its node unpickles `command` alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
