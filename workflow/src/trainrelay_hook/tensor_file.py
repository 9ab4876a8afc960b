"""A tree of tensors: copied into memory that is allocated once, written to a file by a thread, read back.

Not `torch.save`: before torch 2.0 it ends the process where the disk is full, and makes a second copy while
Python waits. The file is a pickle of the tree, in which a tensor is a `Place`, and then each tensor's bytes.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

_PIECE = 4 * 1024 * 1024  # bytes hashed and written at a time, while Python's lock is free


class Place(NamedTuple):
    """Of a tensor."""

    type: torch.dtype
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


class Copied(NamedTuple):
    """A tree with places, and its tensors."""

    tree: Any
    tensors: list[torch.Tensor]

    def write(self, path: str) -> dict[str, Any]:
        """Writes it aside, syncs and renames it; its size and digest. OSError."""
        digest, size = hashlib.sha256(), 0
        with open(path + ".tmp", "wb", buffering=0) as file:
            head = memoryview(pickle.dumps(self.tree, protocol=4))
            for part in [head, *map(_bytes, self.tensors)]:
                done = 0
                while done < len(part):
                    piece = part[done : done + _PIECE]
                    written = file.write(piece)
                    digest.update(piece[:written])
                    done += written
                size += done
            os.fsync(file.fileno())
        os.replace(path + ".tmp", path)
        return {"bytes": size, "sha256": digest.hexdigest()}


class Memory:
    """What trees are copied into, one after the other."""

    def __init__(self) -> None:
        self._held: list[torch.Tensor] = []

    def allocate(self, tree: Any) -> Copied:
        """Takes what such a tree needs and touches it, which takes long; the tree with its own tensors."""
        own: list[torch.Tensor] = []

        def place(one: torch.Tensor) -> Place:
            own.append(one.detach())
            return Place(one.dtype, tuple(one.shape))

        places = changed(tree, torch.Tensor, place)
        held = self._held[: len(own)]  # a longer tree of before began as this one
        if [(one.dtype, one.shape) for one in own] != [(one.dtype, one.shape) for one in held]:
            gpu = next((one.device for one in own if one.is_cuda), None)
            # It copies into pinned memory at full speed; a thread begins on the first GPU.
            if gpu is not None:
                torch.cuda.set_device(gpu)
            where: Any = {"device": "cpu", "pin_memory": gpu is not None}
            self._held = [torch.empty(one.shape, dtype=one.dtype, **where).zero_() for one in own]
        return Copied(places, own)

    def copied(self, tree: Any) -> Copied:
        """A copy, until the next one is made."""
        places, own = self.allocate(tree)
        for held, one in zip(self._held, own):
            held.copy_(one, non_blocking=True)
        if any(one.is_cuda for one in own):
            torch.cuda.current_stream().synchronize()
        return Copied(places, self._held[: len(own)])


def digest(path: str) -> dict[str, Any]:
    """The size and digest of a file as it is now. OSError."""
    found, size = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            found.update(piece)
            size += len(piece)
    return {"bytes": size, "sha256": found.hexdigest()}


def read(path: str) -> Any:
    """The tree in a file whose digest is right. OSError, EOFError."""
    with open(path, "rb") as file:

        def tensor(place: Place) -> torch.Tensor:
            one = torch.empty(place.shape, dtype=place.type, device="cpu")
            part = _bytes(one)
            if file.readinto(part) != len(part):
                raise EOFError("{} is cut short".format(path))
            return one

        return changed(pickle.load(file), Place, tensor)  # noqa: S301 - as it was written here


def _bytes(one: torch.Tensor) -> memoryview:
    """The memory of a tensor, also of a type that NumPy lacks."""
    size = one.numel() * one.element_size()
    return memoryview((ctypes.c_ubyte * size).from_address(one.data_ptr()) if size else bytearray()).cast("B")
