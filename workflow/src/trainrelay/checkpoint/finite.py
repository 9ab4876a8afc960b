"""Where the bytes of a storage are NaN or infinite, for every floating type that torch saves.

No tensor is ever built: runs of bad bytes are found per storage, and a tensor is bad if the region that
it touches meets one. So a storage's unused rest may hold anything, as it does after slicing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Bad = Callable[[npt.NDArray[np.generic]], npt.NDArray[np.bool_]]
_Runs = npt.NDArray[np.int64]  # shape (runs, 2): first byte, byte after the last


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one component of a number lies in memory, and which values of it are not finite."""

    code: str
    bad: _Bad


def _not_finite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    finite: npt.NDArray[np.bool_] = np.isfinite(values)
    return ~finite


def _ones(mask: int, wanted: int) -> _Bad:
    """The bit patterns that are not finite in a type that numpy does not have."""
    return lambda values: np.bitwise_and(values, mask) == wanted


def _exactly(*patterns: int) -> _Bad:
    return lambda values: np.isin(values, patterns)


_KINDS: dict[str, _Kind] = {
    **dict.fromkeys(["float64", "double", "complex128", "cdouble"], _Kind("f8", _not_finite)),
    **dict.fromkeys(["float32", "float", "complex64", "cfloat"], _Kind("f4", _not_finite)),
    **dict.fromkeys(["float16", "half", "complex32", "chalf"], _Kind("f2", _not_finite)),
    "bfloat16": _Kind("u2", _ones(0x7F80, 0x7F80)),
    "float8_e5m2": _Kind("u1", _ones(0x7C, 0x7C)),
    "float8_e4m3fn": _Kind("u1", _ones(0x7F, 0x7F)),
    "float8_e4m3fnuz": _Kind("u1", _exactly(0x80)),
    "float8_e5m2fnuz": _Kind("u1", _exactly(0x80)),
    "float8_e8m0fnu": _Kind("u1", _exactly(0xFF)),
}


def can_be_bad(dtype: str) -> bool:
    """Whether a torch dtype has values that are not finite."""
    return dtype in _KINDS


class Scan:
    """The runs of bad bytes of one storage, read as one dtype, found chunk by chunk.

    Chunks other than the last hold whole elements.
    """

    def __init__(self, dtype: str, big_endian: bool) -> None:
        kind = _KINDS[dtype]
        self._bad = kind.bad
        self._type = np.dtype(kind.code).newbyteorder(">" if big_endian else "<")
        self._runs: list[_Runs] = []
        self._read = 0

    def feed(self, chunk: bytes) -> None:
        """Looks at the next bytes of the storage."""
        item = self._type.itemsize
        mask = self._bad(np.frombuffer(chunk, self._type, count=len(chunk) // item))
        if mask.any():
            self._runs.append(_runs(mask) * item + self._read)
        self._read += len(chunk)

    def spans(self) -> Spans | None:
        """What was found, None where everything is finite."""
        return Spans(np.concatenate(self._runs)) if self._runs else None


@dataclass(frozen=True, slots=True)
class Spans:
    """Sorted runs of bad bytes."""

    runs: _Runs

    def meets(self, start: int, stop: int) -> bool:
        """Whether any bad byte lies in [start, stop)."""
        after = int(np.searchsorted(self.runs[:, 1], start, side="right"))
        return after < len(self.runs) and int(self.runs[after, 0]) < stop


def _runs(mask: npt.NDArray[np.bool_]) -> _Runs:
    """Half-open index ranges in which the mask is true."""
    padded = np.concatenate([[False], mask, [False]])
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2).astype(np.int64)


def feed_all(scans: Iterable[Scan], chunks: Iterable[bytes]) -> None:
    """Reads a member once for all scans of it, to its end even without any."""
    scans = list(scans)
    for chunk in chunks:
        for scan in scans:
            scan.feed(chunk)
