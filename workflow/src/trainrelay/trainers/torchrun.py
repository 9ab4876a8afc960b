"""torch.distributed's launcher, on one node or on each of several, and the environment of the ranks.

Over several nodes it is a Slurm step over all nodes of a job, beside the step of the supervisor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from trainrelay.trainers.base import LaunchRequest

_SCRIPT = Path(__file__).resolve().with_name("node.py")


def launcher(request: LaunchRequest) -> Iterator[str]:
    """The command line up to the training script; over several nodes, one launcher is started on each."""
    yield from on_each_node(request)
    yield from ("-m", request.launch_module, f"--nproc_per_node={request.nproc_per_node}")
    if request.nodes > 1:
        yield from (f"--nnodes={request.nodes}", f"--master_addr={request.master_addr}")
    if request.master_port is not None:
        yield f"--master_port={request.master_port}"


def environment(request: LaunchRequest, inherited: Mapping[str, str]) -> dict[str, str]:
    """The request's own variables and its rung's, and PYTHONPATH with the checkout first."""
    parts = [request.root, request.env.get("PYTHONPATH", ""), inherited.get("PYTHONPATH", "")]
    return {**request.env, **request.rung.env, "PYTHONPATH": ":".join(part for part in parts if part)}


def on_each_node(request: LaunchRequest) -> Iterator[str]:
    """What comes before a module (`-m NAME`) or a script for the trainer's Python."""
    if request.nodes == 1:
        yield from (request.interpreter, "-u")
    else:
        yield from (*srun(request), request.interpreter, "-u", str(_SCRIPT))


def srun(request: LaunchRequest) -> Iterator[str]:
    """What comes before a command that is to run once on every node."""
    nodes = request.nodes
    yield from ("srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1")
    # Without these two it would wait for what the supervisor's own step holds: the cores and the memory.
    yield from ("--overlap", "--mem=0")
    # The supervisor's own binding would come along. All cores of the job on a node are the launcher's.
    yield "--cpu-bind=none"
    yield from ("--kill-on-bad-exit=1", "--input=none", "--export=ALL", f"--job-name={request.step_name}")
