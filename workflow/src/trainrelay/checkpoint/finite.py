"""Where the bytes of a storage are NaN or infinite, for every floating type that torch saves.

No tensor is ever built: runs of bad bytes are found per storage, and a tensor is bad if the region that
it touches meets one. So a storage's unused rest may hold anything, as it does after slicing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Bad = Callable[[npt.NDArray[np.generic]], npt.NDArray[np.bool_]]
_Runs = npt.NDArray[np.int64]  # shape (runs, 2): first byte, byte after the last
_MOST_RUNS = 8192  # of one chunk; where there are more, those between the first and the last count as bad
_NONE: _Runs = np.empty((0, 2), np.int64)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one component of a number lies in memory, which values of it are not finite, which infinite."""

    code: str
    bad: _Bad
    infinite: _Bad


def _not_finite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    finite: npt.NDArray[np.bool_] = np.isfinite(values)
    return ~finite


def _infinite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    infinite: npt.NDArray[np.bool_] = np.isinf(values)
    return infinite


def _ones(mask: int, wanted: int) -> _Bad:
    """Bit patterns of a type that numpy does not have."""
    return lambda values: np.bitwise_and(values, mask) == wanted


def _exactly(*patterns: int) -> _Bad:
    return lambda values: np.isin(values, patterns)


_KINDS: dict[str, _Kind] = {
    **dict.fromkeys(["float64", "double", "complex128", "cdouble"], _Kind("f8", _not_finite, _infinite)),
    **dict.fromkeys(["float32", "float", "complex64", "cfloat"], _Kind("f4", _not_finite, _infinite)),
    **dict.fromkeys(["float16", "half", "complex32", "chalf"], _Kind("f2", _not_finite, _infinite)),
    "bfloat16": _Kind("u2", _ones(0x7F80, 0x7F80), _ones(0x7FFF, 0x7F80)),
    "float8_e5m2": _Kind("u1", _ones(0x7C, 0x7C), _ones(0x7F, 0x7C)),
    "float8_e4m3fn": _Kind("u1", _ones(0x7F, 0x7F), _exactly()),
    **dict.fromkeys(["float8_e4m3fnuz", "float8_e5m2fnuz"], _Kind("u1", _exactly(0x80), _exactly())),
    "float8_e8m0fnu": _Kind("u1", _exactly(0xFF), _exactly()),
}


def can_be_bad(dtype: str) -> bool:
    """Whether a torch dtype has values that are not finite."""
    return dtype in _KINDS


class Scan:
    """The runs of bad bytes of one storage, read as one dtype, found chunk by chunk.

    Chunks other than the last hold whole elements.
    """

    def __init__(self, dtype: str, big_endian: bool) -> None:
        self._kind = _KINDS[dtype]
        self._type = np.dtype(self._kind.code).newbyteorder(">" if big_endian else "<")
        self._nan: list[_Runs] = [_NONE]
        self._infinite: list[_Runs] = [_NONE]
        self._read = 0

    def feed(self, chunk: bytes) -> None:
        """Looks at the next bytes of the storage."""
        item = self._type.itemsize
        values = np.frombuffer(chunk, self._type, count=len(chunk) // item)
        bad = self._kind.bad(values)
        if bad.any():
            infinite = self._kind.infinite(values)
            for kept, mask in ((self._nan, bad & ~infinite), (self._infinite, infinite)):
                runs = _runs(mask)
                if len(runs) > _MOST_RUNS:
                    runs = np.array([[runs[0, 0], runs[-1, 1]]])
                kept.append(runs * item + self._read)
        self._read += len(chunk)

    def spans(self) -> Spans | None:
        """What was found, None where everything is finite."""
        found = Spans(np.concatenate(self._nan), np.concatenate(self._infinite))
        return found if len(found.nan) or len(found.infinite) else None


@dataclass(frozen=True, slots=True)
class Spans:
    """Sorted runs of the bytes of NaN, and of infinities."""

    nan: _Runs
    infinite: _Runs

    def meets(self, start: int, stop: int) -> bool:
        """Whether any bad byte lies in [start, stop)."""
        return self.has_nan(start, stop) or len(_within(self.infinite, start, stop)) > 0

    def has_nan(self, start: int, stop: int) -> bool:
        """Whether any byte of a NaN lies in [start, stop)."""
        return len(_within(self.nan, start, stop)) > 0

    def pattern(self, start: int, stop: int) -> bytes:
        """Where in [start, stop) infinities are, as a digest."""
        runs = _within(self.infinite, start, stop)
        return hashlib.sha256((runs.clip(start, stop) - start).tobytes()).digest()


def _within(runs: _Runs, start: int, stop: int) -> _Runs:
    first = np.searchsorted(runs[:, 1], start, side="right")
    return runs[first : np.searchsorted(runs[:, 0], stop)]


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
