"""How a job is recognised: by its comment, or, if a site rewrote that, by where its output or script is."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from snakemake_executor_plugin_submitit.slurm import QueueRow
from snakemake_executor_plugin_submitit.status import ENDED

_PLAIN = (str, int, float, complex, bytes, bytearray, range, type(None))
_TOKEN = re.compile(r"\d{8}-\d{6}-(?P<digest>[0-9a-f]{12})-[0-9a-f]{8}")


def comment_of(digest: str, token: str) -> str:
    """The value of sbatch's --comment."""
    return f"snakemake-submitit/{digest}/{token}"


def digest_of(workdir: str, rules: Iterable[str], outputs: Iterable[str]) -> str:
    """The same in every controller: the same rules write the same files in the same folder."""
    named = json.dumps([workdir, sorted(rules), sorted(outputs)])
    return hashlib.sha256(named.encode(errors="surrogateescape")).hexdigest()[:32]


def digest_of_params(rules: Iterable[tuple[str, Iterable[Any]]]) -> str:
    """Of each rule's name and params; as for Snakemake's own trigger, the set of values counts."""
    known = sorted([name, *sorted(set(map(_text, params)))] for name, params in rules)
    return hashlib.sha256(repr(known).encode()).hexdigest()


def _text(value: Any) -> str:
    """The same in each process; of what Snakemake cannot compare, the type alone."""
    if isinstance(value, dict):
        parts = [f"{_text(key)}: {_text(item)}" for key, item in value.items()]
    elif isinstance(value, set | frozenset):
        parts = sorted(map(_text, value))
    elif isinstance(value, list | tuple):
        parts = list(map(_text, value))
    else:
        return repr(value) if isinstance(value, _PLAIN) else type(value).__name__
    return f"{type(value).__name__}({', '.join(parts)})"


def new_token(digest: str) -> str:
    """Names one submission's folder; unique, and sorted by time in a listing."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{digest[:12]}-{secrets.token_hex(4)}"


def live_jobs(
    digest_in: Callable[[str], str], workdir: str, rows: Iterable[QueueRow]
) -> list[tuple[QueueRow, str]]:
    """The jobs that already do this work, with their tokens: running ones first, then the oldest.

    `digest_in`: of this work in a working folder. Found are also jobs of this folder by another path, and of
    one that is gone: it may have been moved here.
    """
    live, own = [row for row in rows if row.state not in ENDED], digest_in(workdir)
    found = [(replace(row, workdir=workdir), token) for row in live if (token := token_of(own, row))]
    for row in (row for row in live if row.workdir not in ("", workdir)):
        other, token = Path(row.workdir), token_of(digest_in(row.workdir), row)
        with suppress(OSError):  # a folder that cannot be looked at is another one
            if token and (not other.exists() or other.samefile(workdir)):
                found.append((row, token))
    return sorted(found, key=lambda pair: (pair[0].state != "RUNNING", int(pair[0].job_id)))


def token_of(digest: str, row: QueueRow) -> str | None:
    """The token of the submission that this job of the work is; None for other work."""
    folders = (PurePath(path).parent.name for path in (row.output, row.script))
    signs = (row.comment.strip().removeprefix(comment_of(digest, "")), *folders)
    return next((sign for sign in signs if _names(digest, sign)), None)


def _names(digest: str, folder: str) -> bool:
    found = _TOKEN.fullmatch(folder)
    return found is not None and digest.startswith(found["digest"])


def slug(name: str) -> str:
    """A name that is safe as a folder and as a Slurm job name."""
    return re.sub(r"[^A-Za-z0-9.+=_-]", "_", name).lstrip(".-")[:80] or "job"
