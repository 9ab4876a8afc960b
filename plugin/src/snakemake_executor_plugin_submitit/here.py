"""Jobs on this machine: as processes, or inside of Snakemake itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from snakemake_executor_plugin_submitit.environment import own_run, scrubbed
from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.processes import kill_tree
from snakemake_executor_plugin_submitit.resources import Request
from snakemake_executor_plugin_submitit.slurm import QueueRow, Snapshot
from snakemake_executor_plugin_submitit.submission import Submission

if TYPE_CHECKING:
    import submitit


@dataclass
class LocalCluster:
    """Processes of this machine."""

    interval_s: float = 0.5
    _jobs: dict[str, submitit.Job[Any]] = field(default_factory=dict)

    def settle_s(self) -> float:
        """A job that was started is known."""
        return 0.0

    def submit(self, order: Submission) -> str:
        """A controller process of submitit's, which outlives this one."""
        import submitit  # noqa: PLC0415

        executor = submitit.LocalExecutor(order.folder)
        try:
            executor.update_parameters(**_local_parameters(order.request))
        except ValueError as error:
            raise RequestError(f"on this machine: {error}") from None
        with outside_of_allocation(), _ctrl_c_ignored():
            job = executor.submit(order.command)
        self._jobs[job.job_id] = job
        return str(job.job_id)

    def look(self, job_ids: Iterable[str]) -> Snapshot:
        """A process that has ended counts as failed, unless the result file says otherwise."""
        states = {True: "RUNNING", False: "FAILED"}
        return Snapshot({job_id: QueueRow(job_id, states[self._runs(job_id)]) for job_id in job_ids})

    def _runs(self, job_id: str) -> bool:
        return bool(self._jobs[job_id].get_info()["jobState"] == "RUNNING")

    def stop(self, job_ids: Iterable[str]) -> None:
        """submitit's controller forwards the signal."""
        for job_id in filter(self._runs, job_ids):
            os.kill(int(job_id), signal.SIGTERM)

    def kill(self, job_ids: Iterable[str]) -> None:
        """SIGKILL to submitit's controller and all that it started."""
        for job_id in filter(self._runs, job_ids):
            kill_tree(int(job_id))


def _local_parameters(request: Request) -> dict[str, Any]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = tuple(int(number) for number in visible.split(",")) if visible.replace(",", "").isdigit() else ()
    if request.gpus.gres:
        raise RequestError(f"gres={request.gpus.gres} means nothing on this machine: write gpu=8 instead")
    return {
        "timeout_min": request.runtime_min or 60 * 24 * 365,
        "nodes": request.nodes,
        "gpus_per_node": request.gpus.number,
        "visible_gpus": gpus,
        "stderr_to_stdout": True,
    }


@contextmanager
def outside_of_allocation() -> Iterator[None]:
    """What is started in this block is not part of the job that this process may be part of."""
    inherited = os.environ.keys() - scrubbed(os.environ) if own_run(os.environ).job_id else ()
    taken = {name: os.environ.pop(name) for name in inherited}
    try:
        yield
    finally:
        os.environ.update(taken)


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """A Ctrl-C on the terminal reaches every process: the jobs get their signal from us, with grace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class DebugCluster(LocalCluster):
    """This very process, one job after the other; what a job prints goes to the terminal."""

    def submit(self, order: Submission) -> str:
        """Runs the job before it returns."""
        import submitit  # noqa: PLC0415

        job = submitit.DebugExecutor(order.folder).submit(order.command)
        value = ("success", job.result())
        submitit.core.utils.cloudpickle_dump(value, order.folder / f"{job.job_id}_0_result.pkl")
        return str(job.job_id)

    def _runs(self, job_id: str) -> bool:  # noqa: ARG002
        return False  # whatever was submitted has ended
