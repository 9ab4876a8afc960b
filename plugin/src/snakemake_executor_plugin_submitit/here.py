"""Jobs on this machine, as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress

from psutil import NoSuchProcess, Process

from snakemake_executor_plugin_submitit.environment import scrubbed
from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.resources import Request
from snakemake_executor_plugin_submitit.slurm import QueueRow, Snapshot
from snakemake_executor_plugin_submitit.submission import Submission, name_command

# Of the folder, and the words that start submitit: a job's number is that of its process.
_START = 'export SUBMITIT_LOCAL_JOB_ID=$$; exec "$@" "$0" >>"$0/$$_0_log.out" 2>&1'


class LocalCluster:
    """Processes of this machine, which outlive this one. They have no time limit."""

    interval_s = 0.5

    def __init__(self) -> None:
        self._jobs: dict[str, subprocess.Popen[bytes]] = {}

    def settle_s(self) -> float:
        """A job that was started is known."""
        return 0.0

    def submit(self, order: Submission) -> str:
        """In a separate session: a Ctrl-C on the terminal reaches us alone, who stop it with grace."""
        gpus = {"CUDA_VISIBLE_DEVICES": _devices(order.request)}
        order.write_command()
        job = subprocess.Popen(
            ["/bin/sh", "-c", _START, str(order.folder), sys.executable, "-u", "-m", "submitit.core._submit"],
            env={**scrubbed(os.environ), **gpus, "SUBMITIT_EXECUTOR": "local"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        job_id = str(job.pid)
        name_command(order.folder, job_id)
        self._jobs[job_id] = job
        return job_id

    def look(self, job_ids: Iterable[str]) -> Snapshot:
        """A process that has ended counts as failed, unless the result file says otherwise."""
        states = {True: "RUNNING", False: "FAILED"}
        return Snapshot({job_id: QueueRow(job_id, states[self._runs(job_id)]) for job_id in job_ids})

    def _runs(self, job_id: str) -> bool:
        return self._jobs[job_id].poll() is None

    def stop(self, job_ids: Iterable[str]) -> None:
        """Each may save."""
        for job_id in filter(self._runs, job_ids):
            os.kill(int(job_id), signal.SIGTERM)

    def kill(self, job_ids: Iterable[str]) -> None:
        """SIGKILL to each and to all below it, the parents first, so that none starts another."""
        for job_id in filter(self._runs, job_ids):
            for process in [parent := Process(int(job_id)), *parent.children(recursive=True)]:
                with suppress(NoSuchProcess):
                    process.kill()


def _devices(request: Request) -> str:
    """The first GPUs of those that this process sees."""
    if request.gpus.gres:
        raise RequestError(f"gres={request.gpus.gres} means nothing on this machine: write gpu=8 instead")
    if request.nodes > 1:
        raise RequestError(f"nodes={request.nodes}: this machine is one")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    named = visible.split(",") if visible else list(map(str, range(request.gpus.number)))
    if len(named) < request.gpus.number:
        raise RequestError(f"gpu={request.gpus.number}: this machine shows CUDA_VISIBLE_DEVICES={visible}")
    return ",".join(named[: request.gpus.number])
