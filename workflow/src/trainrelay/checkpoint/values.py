"""What a checkpoint's pickle turns into: plain data, and inert stand-ins for everything else.

None of these does anything when it is made, changed, compared or thrown away. They compare by identity,
so that no hash or comparison ever walks a structure that a hostile file shaped.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A name from the allow-list, e.g. `torch.float32`; never the thing itself."""

    path: str

    @property
    def last(self) -> str:
        """The part after the last dot."""
        return self.path.rpartition(".")[2]


class FinishedEpochs(int):
    """A count of epochs that says itself that they are finished."""


@dataclass(slots=True, eq=False)
class Opaque:
    """An object we do not rebuild: its class or function, and all the data it was given."""

    maker: Global
    args: object
    state: object = None
    items: list[object] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Long(Global):
    """Any text, bytes or number that was too long to be kept: where it is in the file, in bytes."""

    at: int
    size: int
    text: bool  # bytes as protocol 2 writes them: a text of so many characters, in UTF-8


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """The bytes of tensors: a member of the zip file, or of a numpy array `pickled`."""

    key: str
    dtype: str
    size: int  # bytes
    pickled: bytes | Long | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view into a storage. `start` and `stop` bound, in bytes, the region that it touches."""

    storage: Storage
    dtype: str
    start: int
    stop: int
    size: tuple[int, ...]
    numel: int
