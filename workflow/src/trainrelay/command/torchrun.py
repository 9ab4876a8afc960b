"""What every kind shares: torch.distributed's launcher, the environment, the files of a work dir."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from trainrelay.checkpoint import glance
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


def checkpoint_files(work_dir: Path) -> list[Path]:
    """Plain files whose names say that they are checkpoints; none where the folder does not exist."""
    found = work_dir.iterdir() if work_dir.is_dir() else ()
    return [path for path in found if _is_named_so(path) and path.is_file() and not path.is_symlink()]


def not_understood(paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """Those of the files that are no checkpoints, each with why; weights alone are understood."""
    return [(path, why) for path in sorted(paths) if (why := glance(path).problem)]


def could_be_overwritten(work_dir: Path, *others: str) -> list[str]:
    """Names of all that looks like a checkpoint, links too, and of `others`."""
    found = work_dir.iterdir() if work_dir.is_dir() else ()
    return sorted(path.name for path in found if _is_named_so(path) or path.name in others)


def _is_named_so(path: Path) -> bool:
    return path.name.lower().endswith((".pth", ".pt", ".pth.tar", ".ckpt", ".safetensors"))


def number(text: str) -> float | None:
    """A printed number, also as a tensor prints; None where it is none."""
    try:
        return float(text.removeprefix("tensor(").rstrip(",)"))
    except ValueError:
        return None
