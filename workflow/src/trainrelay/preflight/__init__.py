"""Preflight checks, each one function: on the login node before a submission, on the node at a start."""

from trainrelay.preflight.cluster import (
    account_check,
    answers_check,
    partition_checks,
    request_check,
)
from trainrelay.preflight.folders import folder_checks, mounts, space_check
from trainrelay.preflight.found import Found, fix, note, ok
from trainrelay.preflight.interpreter import Needs, interpreter_check
from trainrelay.preflight.node import too_few_cores, too_few_gpus, visible_gpus

__all__ = [
    "Found",
    "Needs",
    "account_check",
    "answers_check",
    "fix",
    "folder_checks",
    "interpreter_check",
    "mounts",
    "note",
    "ok",
    "partition_checks",
    "request_check",
    "space_check",
    "too_few_cores",
    "too_few_gpus",
    "visible_gpus",
]
