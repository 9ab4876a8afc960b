"""A job of Snakemake's and the cluster's job that does it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from snakemake_executor_plugin_submitit.identity import digest_of, digest_of_params
from snakemake_executor_plugin_submitit.slurm import printable
from snakemake_executor_plugin_submitit.status import Memory, Result, read_result
from snakemake_executor_plugin_submitit.submission import Submission

_TAIL_BYTES = 8192
_LONGEST_CHARS = 600
_SUBMITIT = re.compile(r"submitit [A-Z]+ \(")  # how it loads and stores is no reason


@dataclass(eq=False)
class TrackedJob:
    """A Snakemake job and the cluster's job that does it. `job_id` empty: not submitted yet."""

    info: SubmittedJobInfo
    order: Submission
    asked: Submission = field(init=False)  # with all of its legs, at each submission again
    job_id: str = ""
    memory: Memory = field(default_factory=Memory)
    said: str = ""  # the state that the user was shown last
    helped: str = ""  # the advice that the user was shown last
    lost: BaseException | None = None  # why a submission had no answer: it may still become a job
    lost_s: float = 0.0  # when

    def __post_init__(self) -> None:
        self.asked = self.order

    @property
    def name(self) -> str:
        """For the user."""
        return name_of(self.info.job)

    @property
    def log(self) -> Path:
        """What the job prints, from all its runs."""
        return self.order.folder / f"{self.job_id}_0_log.out"

    def result(self) -> Result | None:
        """None while there is none."""
        return read_result(self.order.folder, self.job_id)

    def begin(self, job_id: str) -> None:
        """From now on it is this job of the cluster."""
        self.job_id = self.info.external_jobid = job_id
        self.memory, self.said, self.lost = Memory(), "", None

    def log_files(self) -> list[Path]:
        """Of its rule's `log:`, a group has none; the job's own where no rule has begun to write."""
        rules = rules_of(self.info.job)
        logs = [Path(str(path)) for rule in rules for path in getattr(rule, "log", None) or ()]
        if logs and not any(path.exists() for path in logs):
            return [self.log]
        return logs if rules == [self.info.job] else []


def name_of(job: Any) -> str:
    """With the values of its wildcards."""
    wildcards = getattr(job, "wildcards_dict", None) or {}
    named = ",".join(f"{key}={value}" for key, value in wildcards.items())
    return f"{job.name}[{named}]" if named else str(job.name)


def rules_of(job: Any) -> list[Any]:
    """Of a group, its jobs."""
    return list(getattr(job, "jobs", [job]))


def digest_in(job: Any, workdir: str) -> str:
    """Of this work in a working folder."""
    return digest_of(workdir, map(str, job.rules), map(str, job.output))


def params_of(job: Any) -> str:
    """The digest of its params that trigger a rerun."""
    return digest_of_params((name_of(rule), rule.non_derived_params) for rule in rules_of(job))


def last_lines(logs: Iterable[Path]) -> Iterator[str]:
    """The last line of each log that has one, printable and bounded."""
    for path in logs:
        try:
            with path.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
                lines = file.read().decode("utf-8", errors="replace").splitlines()
        except OSError:
            continue
        plain = (printable(line).strip() for line in lines)
        said = [line for line in plain if line and not _SUBMITIT.match(line)]
        if said:
            yield f"{path} ends: {said[-1][:_LONGEST_CHARS]}"
