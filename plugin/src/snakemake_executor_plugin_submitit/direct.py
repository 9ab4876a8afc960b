"""A rule's plain shell command on the node, without a second Snakemake around it.

What that one would do there is done here. All else the controller's Snakemake does for every job: it checks,
touches and protects the outputs, records the metadata, removes temporary files.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LOOK_S = 0.5
_LONGEST = 60_000  # Snakemake writes a longer command to a file
_TO_COME = "<TBD>"  # Snakemake's text for what only the node knows
_PLAIN_FLAGS = {"ensure", "report", "temp", "touch"}  # the controller's Snakemake sees to these
_THREADS = (
    *("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)
_TEMPORARY = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")


@dataclass(frozen=True)
class Direct:
    """One run of a rule, whose folder may be moved meanwhile: as with Snakemake, it is the working directory.

    `marks` are Snakemake's of outputs that are incomplete.
    """

    line: str  # for a shell
    envvars: Mapping[str, str]
    threads: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    logs: tuple[str, ...]
    marks: tuple[str, ...]
    latency_s: int
    keep_incomplete: bool

    def prepare(self) -> None:
        """Before each run, also of a job that was requeued. OSError where the command must not start."""
        self._wait_for_inputs()
        for path in map(Path, self.outputs):
            if path.exists() and not path.is_symlink() and not os.access(path, os.W_OK):
                raise PermissionError(f"its output {path} is write-protected")
        for path in map(Path, (*self.outputs, *self.logs)):
            _remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
        os.environ.update(self.envvars)
        os.environ.update(dict.fromkeys(_THREADS, str(self.threads)))
        os.environ.update(dict.fromkeys(_TEMPORARY, tempfile.gettempdir()))

    def _wait_for_inputs(self) -> None:
        # A shared file system may show them to this node some seconds late.
        end_s = time.monotonic() + self.latency_s
        while missing := [path for path in self.inputs if not os.path.exists(path)]:  # noqa: PTH110
            if time.monotonic() >= end_s:
                raise FileNotFoundError(f"no {', '.join(missing)} after {self.latency_s} s")
            time.sleep(_LOOK_S)

    def finish(self, code: int) -> None:
        """After each run. There may be no controller by now: the next one must find what is true."""
        left = self.outputs if code else self.marks
        for path in map(Path, () if code and self.keep_incomplete else left):
            _remove(path)


def _remove(path: Path) -> None:
    if str(path) != os.devnull:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            path.unlink()


def direct_of(job: Any, workflow: Any, envvars: Mapping[str, str]) -> Direct | None:
    """None for a job that needs a Snakemake on its node."""
    if job.is_group() or not _is_plain(job, workflow):
        return None
    from snakemake.shell import shell  # noqa: PLC0415

    executable, persistence = shell.get_executable(), workflow.persistence
    words = (shell._get_process_prefix(executable), job.shellcmd, shell._process_suffix)
    command = " ".join(words).strip()
    if not executable or _TO_COME in command or len(command) > _LONGEST:
        return None
    keys = map(persistence._get_key, job.output)
    marks = (persistence._record_path(persistence._incomplete_path, key) for key in keys)
    return Direct(
        line=shlex.join([executable, "-c", command]),
        envvars=dict(envvars),
        threads=job.threads,
        inputs=tuple(map(str, job.input)),
        outputs=tuple(map(str, job.output)),
        logs=tuple(map(str, job.log)),
        marks=tuple(map(os.path.relpath, marks)),
        latency_s=workflow.execution_settings.latency_wait,
        keep_incomplete=bool(workflow.execution_settings.keep_incomplete),
    )


def _is_plain(job: Any, workflow: Any) -> bool:
    """Whether a Snakemake on the node would do no more than `Direct` does."""
    from snakemake.persistence.file import FilePersistence  # noqa: PLC0415
    from snakemake.settings.types import SharedFSUsage  # noqa: PLC0415

    needs_more = (
        job.rule.shellcmd is None,
        job.is_shadow,
        job.benchmark,
        workflow.deployment_settings.deployment_method,
        workflow.workflow_settings.cache is not None,
        workflow.remote_execution_settings.precommand,
        not isinstance(workflow.persistence, FilePersistence),
        workflow.storage_settings.shared_fs_usage != SharedFSUsage.all(),
        any(path.is_storage for path in (*job.input, *job.output, *job.log)),
        any(set(path.flags) - _PLAIN_FLAGS for path in job.output),
        # Evaluated on the node, or limited by its cores.
        job.rule.resources["tmpdir"].raw != "system_tmpdir",
        job.resources.get("shell_exec"),
        job.resources.get("cpus_per_task", job.threads) < job.threads,
    )
    return not any(needs_more)
