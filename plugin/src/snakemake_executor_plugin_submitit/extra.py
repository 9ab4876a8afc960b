"""slurm_extra: a user's own sbatch options."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from snakemake_executor_plugin_submitit.errors import RequestError

_SHORT = {
    "A": "account", "a": "array", "b": "begin", "C": "constraint", "c": "cpus-per-task", "D": "chdir",
    "d": "dependency", "e": "error", "F": "nodefile", "G": "gpus", "H": "hold", "J": "job-name",
    "k": "no-kill", "L": "licenses", "M": "clusters", "N": "nodes", "n": "ntasks", "o": "output",
    "p": "partition", "q": "qos", "s": "oversubscribe", "t": "time", "w": "nodelist", "x": "exclude",
}  # fmt: skip
_FLAGS = {"hold", "no-kill"}  # short options that take no value

# Options that this executor sets itself, and what their value belongs to instead.
ELSEWHERE = {
    "account": "the resource slurm_account",
    "constraint": "the resource constraint",
    "cpus-per-task": "the resource cpus_per_task",
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-task"), "the resource gpu (and gpu_model)"),
    "gres": "the resource gpu (and gpu_model), or gres",
    "mem": "the resource mem_mb",
    "mem-per-cpu": "the resource mem_mb_per_cpu",
    "nodes": "the resource nodes",
    "partition": "the resource slurm_partition",
    "qos": "the resource qos",
    "time": "the resource runtime, in minutes",
    "signal": "the resource slurm_signal_delay_s; the signal itself is this executor's own",
}
OURS = {
    "array", "chdir", "clusters", "comment", "error", "job-name", "ntasks", "ntasks-per-gpu",
    "ntasks-per-node", "open-mode", "output", "parsable", "wait", "wrap",
}  # fmt: skip
NO_JOB = {"help", "test-only", "usage", "version"}  # sbatch submits nothing with them


def extra_options(given: str) -> dict[str, str | bool]:
    """Long options without dashes, True for a flag; RequestError for one that is set elsewhere.

    `given`: a printable line.
    """
    try:
        found = dict(options(given))
    except RequestError as error:
        raise RequestError(f"slurm_extra: {error}") from None
    for why in refused(found, ELSEWHERE):
        raise RequestError(f"slurm_extra: {why}")
    return found


def refused(names: Iterable[str], elsewhere: Mapping[str, str]) -> list[str]:
    """A sentence for each of these options that no job may be given; `elsewhere`: what to use instead."""
    whys = {name: f"is set elsewhere: use {instead}" for name, instead in elsewhere.items()}
    whys |= dict.fromkeys(OURS, "is set for each job: leave it out")
    whys |= dict.fromkeys(NO_JOB, "submits no job: leave it out")
    return [f"--{name} {whys[name]}" for name in names if name in whys]


def options(given: str) -> list[tuple[str, str | bool]]:
    """The options of a line in their order, allowed or not; RequestError for what is none."""
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise RequestError(f"{given!r} cannot be read as options: {error}") from None
    found: list[tuple[str, str | bool]] = []
    while words:
        name, value = _option(words.pop(0))
        if value is None and name not in _FLAGS and words and not words[0].startswith("-"):
            value = words.pop(0)
        found.append((name, True if value is None else value))
    return found


def _option(word: str) -> tuple[str, str | None]:
    if word.startswith("--") and len(word) > 2:
        name, equals, value = word[2:].partition("=")
        return _in_full(name), value if equals else None
    if word.startswith("-") and word[1:2] in _SHORT:
        return _SHORT[word[1]], word[2:] or None
    raise RequestError(f"{word} is not an option of sbatch: write it as --NAME=VALUE")


def _in_full(name: str) -> str:
    """sbatch takes the beginning of an option for it; no option that is allowed is one of a refused one."""
    read = [*sorted({*ELSEWHERE, *OURS, *NO_JOB}), *(["no-requeue"] if name.startswith("no-r") else [])]
    return next((full for full in read if full.startswith(name)), name)
