"""A tree of tensors: copied into memory that is allocated once, written to a file by a thread, read back.

Not `torch.save`: before torch 2.0 it ends the process where the disk is full, and it holds up Python for the
whole copy that it makes first. The file is a pickle of the tree, in which a tensor is its `Place`, and then
the elements of all tensors of a type, type by type.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

_PIECE = 4 * 1024 * 1024  # bytes hashed and written at a time: nobody waits for Python's lock meanwhile


class Place(NamedTuple):
    """Where a tensor's elements are among those of its type."""

    type: torch.dtype
    start: int
    shape: tuple[int, ...]


def changed(tree: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """The same tree with each leaf of this kind changed."""
    if isinstance(tree, kind):
        return change(tree)
    if isinstance(tree, dict):
        return {key: changed(value, kind, change) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        values = [changed(value, kind, change) for value in tree]
        return tuple(values) if isinstance(tree, tuple) else values
    return tree


class Memory:
    """What a tree of tensors is copied into; on a GPU's machine its driver copies from there at full speed."""

    def __init__(self) -> None:
        self._held: dict[torch.dtype, torch.Tensor] = {}

    def allocate(self, tree: Any) -> None:
        """Takes as much as this tree needs, and touches it: the first touch is what takes long."""
        needed: dict[torch.dtype, int] = {}
        changed(tree, torch.Tensor, lambda one: _reserve(needed, one))
        pinned = torch.cuda.is_initialized()
        self._held = {
            kind: torch.empty(count, dtype=kind, device="cpu", pin_memory=pinned).zero_()
            for kind, count in needed.items()
        }

    def copied(self, tree: Any) -> Copied:
        """A copy of the tree, valid until the next one; more memory is taken where it has grown."""
        needed: dict[torch.dtype, int] = {}
        places = changed(tree, torch.Tensor, lambda one: _reserve(needed, one))
        if any(self._held.get(kind, torch.empty(0)).numel() < count for kind, count in needed.items()):
            self.allocate(tree)
        used: dict[torch.dtype, int] = {}

        def copy(one: torch.Tensor) -> None:
            place = _reserve(used, one)
            part = self._held[place.type][place.start : place.start + one.numel()]
            part.view(one.shape).copy_(one.detach(), non_blocking=True)

        changed(tree, torch.Tensor, copy)
        if torch.cuda.is_initialized():
            torch.cuda.current_stream().synchronize()
        return Copied(places, {kind: self._held[kind][:count] for kind, count in needed.items()})


class Copied(NamedTuple):
    """A tree whose tensors are places, and the elements of each type."""

    tree: Any
    elements: dict[torch.dtype, torch.Tensor]

    def write(self, path: str) -> dict[str, Any]:
        """Writes it aside, syncs and renames it; its size and digest. OSError."""
        counts = {kind: one.numel() for kind, one in self.elements.items()}
        digest, size = hashlib.sha256(), 0
        with open(path + ".tmp", "wb", buffering=0) as file:
            head = pickle.dumps((self.tree, counts), protocol=4)
            for part in [memoryview(head), *map(_bytes, self.elements.values())]:
                for piece in _pieces(part):
                    digest.update(piece)
                    size += _write(file, piece)
            os.fsync(file.fileno())
        os.replace(path + ".tmp", path)
        return {"bytes": size, "sha256": digest.hexdigest()}


def digest(path: str) -> dict[str, Any]:
    """The size and digest of a file as it is now. OSError."""
    found, size = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            found.update(piece)
            size += len(piece)
    return {"bytes": size, "sha256": found.hexdigest()}


def read(path: str) -> Any:
    """The tree in a file that was written here and whose digest is right."""
    with open(path, "rb") as file:
        tree, counts = pickle.load(file)  # noqa: S301 - the digest is the one in the manifest
        elements = {}
        for kind, count in counts.items():
            elements[kind] = torch.empty(count, dtype=kind, device="cpu")
            part = _bytes(elements[kind])
            if file.readinto(part) != len(part):
                raise EOFError("{} is cut short".format(path))

    def tensor(place: Place) -> torch.Tensor:
        size = torch.Size(place.shape)
        return elements[place.type][place.start : place.start + size.numel()].view(size).clone()

    return changed(tree, Place, tensor)


def _reserve(used: dict[torch.dtype, int], one: torch.Tensor) -> Place:
    start = used.get(one.dtype, 0)
    used[one.dtype] = start + one.numel()
    return Place(one.dtype, start, tuple(one.shape))


def _bytes(one: torch.Tensor) -> memoryview:
    """The memory of a tensor, also of a type that NumPy lacks."""
    size = one.numel() * one.element_size()
    return memoryview((ctypes.c_ubyte * size).from_address(one.data_ptr()) if size else bytearray()).cast("B")


def _pieces(part: memoryview) -> Iterator[memoryview]:
    return (part[start : start + _PIECE] for start in range(0, len(part), _PIECE))


def _write(file: Any, piece: memoryview) -> int:
    done = 0
    while done < len(piece):
        done += file.write(piece[done:])
    return done
