"""How a job is recognised: by its comment, or, if a site rewrote that, by where its output or script is."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from snakemake_executor_plugin_submitit.slurm import QueueRow
from snakemake_executor_plugin_submitit.status import ENDED

_COMMENT = re.compile(r"^snakemake-submitit/(?P<digest>[0-9a-f]{32})/(?P<token>[\w-]+)$")
_TOKEN = re.compile(r"\d{8}-\d{6}-(?P<digest>[0-9a-f]{12})-[0-9a-f]{8}")


@dataclass(frozen=True)
class JobIdentity:
    """`digest` is the same for the same job in every controller; `token` names one submission's folder."""

    digest: str
    token: str

    @property
    def comment(self) -> str:
        """The value of sbatch's --comment."""
        return f"snakemake-submitit/{self.digest}/{self.token}"


def digest_of(workdir: str, rules: Iterable[str], outputs: Iterable[str]) -> str:
    """The same job: the same rules writing the same files in the same folder."""
    named = json.dumps([workdir, sorted(rules), sorted(outputs)])
    return hashlib.sha256(named.encode(errors="surrogateescape")).hexdigest()[:32]


def new_token(digest: str) -> str:
    """Unique, and sorted by time in a listing."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{digest[:12]}-{secrets.token_hex(4)}"


def read_comment(comment: str) -> JobIdentity | None:
    """None for a comment that is not ours."""
    found = _COMMENT.match(comment.strip())
    return JobIdentity(found["digest"], found["token"]) if found else None


def live_jobs(digest: str, rows: Iterable[QueueRow]) -> list[tuple[QueueRow, JobIdentity]]:
    """The jobs that already do this work: running ones first, then the oldest."""
    found = [
        (row, JobIdentity(digest, token))
        for row in rows
        if row.state not in ENDED and (token := _token_of(digest, row))
    ]
    return sorted(found, key=lambda pair: (pair[0].state != "RUNNING", int(pair[0].job_id)))


def jobs_of_other_folders(
    digest_in: Callable[[str], str], workdir: str, folder: str, rows: Iterable[QueueRow]
) -> Iterator[tuple[str, str]]:
    """Live jobs that do this work in another working folder: their ids and that folder.

    `digest_in`: of this work in a working folder; `folder`: of all submissions.
    """
    below = PurePath(folder).parts[len(PurePath(workdir).parts) :]
    if not below or not PurePath(folder).is_relative_to(workdir):
        return
    for row in rows:
        submission = PurePath(row.output).parent
        other = PurePath(*submission.parts[: -len(below) - 2])
        elsewhere = str(other) != workdir and submission.is_relative_to(other.joinpath(*below))
        if elsewhere and row.state not in ENDED and _names(digest_in(str(other)), submission.name):
            yield row.job_id, str(other)


def _token_of(digest: str, row: QueueRow) -> str | None:
    """None for other work."""
    if (known := read_comment(row.comment)) and known.digest == digest:
        return known.token
    folders = (PurePath(path).parent.name for path in (row.output, row.script))
    return next((name for name in folders if _names(digest, name)), None)


def _names(digest: str, folder: str) -> bool:
    found = _TOKEN.fullmatch(folder)
    return found is not None and digest.startswith(found["digest"])


def slug(name: str) -> str:
    """A name that is safe as a folder and as a Slurm job name."""
    return re.sub(r"[^A-Za-z0-9.+=_-]", "_", name).lstrip(".-")[:80] or "job"
