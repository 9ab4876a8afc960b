"""slurm_extra: a user's own sbatch options."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from snakemake_executor_plugin_submitit.errors import RequestError

_SHORT = {
    "b": "begin",
    "d": "dependency",
    "F": "nodefile",
    "H": "hold",
    "k": "no-kill",
    "L": "licenses",
    "s": "oversubscribe",
    "w": "nodelist",
    "x": "exclude",
    "A": "account",
    "C": "constraint",
    "c": "cpus-per-task",
    "G": "gpus",
    "J": "job-name",
    "M": "clusters",
    "N": "nodes",
    "n": "ntasks",
    "o": "output",
    "e": "error",
    "p": "partition",
    "q": "qos",
    "t": "time",
    "a": "array",
    "D": "chdir",
}
_FLAGS = {"hold", "no-kill"}  # short options that take no value

# Options that this executor sets itself, and what their value belongs to instead.
ELSEWHERE = {
    "account": "the resource slurm_account",
    "constraint": "the resource constraint",
    "cpus-per-task": "the resource cpus_per_task",
    "gpus": "the resource gpu (and gpu_model)",
    "gpus-per-node": "the resource gpu (and gpu_model)",
    "gpus-per-task": "the resource gpu (and gpu_model)",
    "gres": "the resource gpu (and gpu_model), or gres",
    "mem": "the resource mem_mb",
    "mem-per-cpu": "the resource mem_mb_per_cpu",
    "nodes": "the resource nodes",
    "partition": "the resource slurm_partition",
    "qos": "the resource qos",
    "time": "the resource runtime, in minutes",
    "signal": "--submitit-signal-delay-s; the signal itself is this executor's own",
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
        return {name: _allowed(name, value) for name, value in options(given)}
    except RequestError as error:
        raise RequestError(f"slurm_extra: {error}") from None


def options(given: str) -> list[tuple[str, str | bool]]:
    """The options of a line in their order, allowed or not; RequestError for what is none."""
    try:
        return list(_pairs(shlex.split(given)))
    except ValueError as error:
        raise RequestError(f"{given!r} cannot be read as options: {error}") from None


def _pairs(words: list[str]) -> Iterator[tuple[str, str | bool]]:
    rest = list(words)
    while rest:
        name, value = _option(rest.pop(0))
        if value is not None:
            yield name, value
        elif name not in _FLAGS and rest and not rest[0].startswith("-"):
            yield name, rest.pop(0)
        else:
            yield name, True


def _option(word: str) -> tuple[str, str | None]:
    if word.startswith("--") and len(word) > 2:
        name, equals, value = word[2:].partition("=")
        return _in_full(name), value if equals else None
    if word.startswith("-") and word[1:2] in _SHORT:
        return _SHORT[word[1]], word[2:] or None
    raise RequestError(f"{word} is not an option of sbatch: write it as --NAME=VALUE")


def _in_full(name: str) -> str:
    """sbatch takes the beginning of an option for it; no option that is allowed is one of a refused one."""
    refused = sorted({*ELSEWHERE, *OURS, *NO_JOB})
    return next((full for full in refused if full.startswith(name)), name)


def _allowed(name: str, value: str | bool) -> str | bool:
    if name in ELSEWHERE:
        raise RequestError(f"--{name} is set elsewhere: use {ELSEWHERE[name]}")
    if name in OURS:
        raise RequestError(f"--{name} is set by this executor: leave it out")
    if name in NO_JOB:
        raise RequestError(f"--{name} submits no job: leave it out")
    return value
