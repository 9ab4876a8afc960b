"""Preflight checks, each one function: on the login node before a submission, on the node at a start."""

from trainrelay.preflight.check_result import CheckResult, fix, note, ok
from trainrelay.preflight.cluster import (
    accounting_check,
    chain_limit,
    conf_check,
    partition_checks,
    request_check,
    slurmctld_check,
)
from trainrelay.preflight.folders import folder_checks, mounts, space_check
from trainrelay.preflight.interpreter import interpreter_check
from trainrelay.preflight.node import too_few_cores, too_few_files, too_few_gpus
from trainrelay.preflight.sample_log import sample_check

__all__ = [
    "CheckResult",
    "accounting_check",
    "chain_limit",
    "conf_check",
    "fix",
    "folder_checks",
    "interpreter_check",
    "mounts",
    "note",
    "ok",
    "partition_checks",
    "request_check",
    "sample_check",
    "slurmctld_check",
    "space_check",
    "too_few_cores",
    "too_few_files",
    "too_few_gpus",
]
