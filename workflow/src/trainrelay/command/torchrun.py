"""What every kind shares: torch.distributed's launcher, the environment, plain files of a work dir."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainrelay.command.base import LaunchRequest
from trainrelay.command.several_nodes import on_each_node


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


def plain_files(work_dir: Path) -> list[Path]:
    """Regular files, links left out; none where the folder does not exist."""
    if not work_dir.is_dir():
        return []
    return [path for path in work_dir.iterdir() if path.is_file() and not path.is_symlink()]


def number(text: str) -> float:
    """A printed number; NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
