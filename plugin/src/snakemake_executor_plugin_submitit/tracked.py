"""A job of Snakemake's and the cluster's job that does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from snakemake_executor_plugin_submitit.identity import digest_of
from snakemake_executor_plugin_submitit.params import PARAMS_FILE, digest_of_params
from snakemake_executor_plugin_submitit.results import Result, read_result
from snakemake_executor_plugin_submitit.status import Memory
from snakemake_executor_plugin_submitit.submission import Submission, log_file, result_file


@dataclass
class TrackedJob:
    """A Snakemake job and the cluster's job that does it. `job_id` empty: not submitted yet."""

    info: SubmittedJobInfo
    name: str
    digest: str
    order: Submission
    job_id: str = ""
    memory: Memory = field(default_factory=Memory)
    said: str = ""  # the state that the user was shown last
    helped: str = ""  # the advice that the user was shown last
    lost_s: float | None = None  # when a submission ended without an answer: it may still become a job

    def log(self) -> Path:
        """Of the present submission."""
        return log_file(self.order.folder, self.job_id)


def name_of(job: Any) -> str:
    wildcards = getattr(job, "wildcards_dict", None) or {}
    named = ",".join(f"{key}={value}" for key, value in wildcards.items())
    return f"{job.name}[{named}]" if named else str(job.name)


def digest_in(job: Any, workdir: str) -> str:
    return digest_of(workdir, (str(rule) for rule in job.rules), (str(path) for path in job.output))


def params_of(job: Any) -> str:
    return digest_of_params((name_of(rule), rule.non_derived_params) for rule in rules_of(job))


def rules_of(job: Any) -> list[Any]:
    """Of a group, its jobs."""
    return list(getattr(job, "jobs", [job]))


def log_files(followed: TrackedJob) -> list[Path]:
    """Of its rule's `log:`, a group has none; the job's own where none of its rules has begun to write."""
    job = followed.info.job
    rules = rules_of(job)
    logs = [Path(str(path)) for rule in rules for path in getattr(rule, "log", None) or ()]
    if logs and not any(path.exists() for path in logs):
        return [followed.log()]
    return logs if rules == [job] else []


def result_of(followed: TrackedJob) -> Result | None:
    return read_result(result_file(followed.order.folder, followed.job_id))


def remove_pickles(followed: TrackedJob) -> None:
    """The log of a job that went well stays; what submitit needed for it goes."""
    for pattern in ("*.pkl", "*_submission.sh", ".submission_file_*", PARAMS_FILE):
        for path in followed.order.folder.glob(pattern):
            path.unlink(missing_ok=True)
