"""torch.distributed's launcher, on one node or on each of several, and the environment of the ranks.

Over several nodes it is a Slurm step over all nodes of a job, beside the step of the supervisor.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from trainrelay.text import hidden, is_secret
from trainrelay.trainers import node
from trainrelay.trainers.base import Launch, LaunchRequest

_SCRIPT = Path(__file__).resolve().with_name("node.py")
WHOLE = "--whole"  # as node.py knows it
ONE_RANK = "TRAINRELAY_ONE_RANK"  # as the start-up file in supervise/hangs knows it


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


def one_rank(request: LaunchRequest) -> dict[str, str]:
    """What tells a process that no launcher gave a RANK that it is the only one, if it is."""
    return {ONE_RANK: "1"} if request.nodes * request.nproc_per_node == 1 else {}


def on_each_node(request: LaunchRequest) -> Iterator[str]:
    """What comes before a module (`-m NAME`) or a script for the trainer's Python."""
    if request.nodes == 1:
        yield from (request.interpreter, "-u")
    else:
        yield from (*srun(request), request.interpreter, "-u", str(_SCRIPT))


def prefixed(launch: Launch, request: LaunchRequest) -> Launch:
    """The same start behind the request's prefix, with its variables as words of `env` too: a container may
    drop the environment. Not those of a secret, since every user of the machine can read words.
    """
    if not request.prefix:
        return launch
    variables = (
        f"{name}={value}"
        for name, value in launch.env.items()
        if not is_secret(name) and hidden(value) == value
    )
    carried = (*request.prefix, "env", *variables)
    before = tuple(on_each_node(request))
    if request.nodes == 1 or launch.argv[: len(before)] != before:
        return replace(launch, argv=(*carried, *launch.argv))
    # Slurm tells each node its number in the environment, which node.py must read before the prefix.
    words = [*launch.argv[len(before) :]]
    whole = node.argv(words, "{node_rank}")
    whole[0] = whole[0] if words[0] == WHOLE else request.interpreter
    own = (*srun(request), sys.executable, "-u", str(_SCRIPT), WHOLE)
    return replace(launch, argv=(*own, *carried, *whole))


def srun(request: LaunchRequest) -> Iterator[str]:
    """What comes before a command that is to run once on every node."""
    nodes = request.nodes
    yield from ("srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1")
    # Without these two it would wait for what the supervisor's own step holds: the cores and the memory.
    yield from ("--overlap", "--mem=0")
    # The supervisor's own binding would come along. All cores of the job on a node are the launcher's.
    yield "--cpu-bind=none"
    yield from ("--kill-on-bad-exit=1", "--input=none", "--export=ALL", f"--job-name={request.step_name}")
