"""Where the bytes of a storage are NaN or infinite, for every floating type that torch saves.

No tensor is ever built: runs of bad bytes are found per storage, and a tensor is bad if the region that
it touches meets one. So a storage's unused rest may hold anything, as it does after slicing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Test = Callable[[npt.NDArray[np.generic]], npt.NDArray[np.bool_]]
_Runs = npt.NDArray[np.int64]  # shape (runs, 3): first byte, byte after the last, what they are
_FINE, _INFINITE, _NAN = np.int8(0), np.int8(1), np.int8(2)
_MOST_RUNS = 8192  # of one chunk; where there are more, those between the first and the last count as bad


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one component of a number is stored, and which values of it are not finite."""

    code: str
    bad: _Test
    infinite: _Test
    minus: float = -np.inf  # the infinity of masks


def _not_finite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    finite: npt.NDArray[np.bool_] = np.isfinite(values)
    return ~finite


def _ones(mask: int, wanted: int) -> _Test:
    """Bit patterns of a type that numpy does not have."""
    return lambda values: np.bitwise_and(values, mask) == wanted


def _exactly(*patterns: int) -> _Test:
    return lambda values: np.isin(values, patterns)


# By torch dtype; those that are not here have no value that is not finite.
KINDS: dict[str, _Kind] = {
    **dict.fromkeys(["float64", "double", "complex128", "cdouble"], _Kind("f8", _not_finite, np.isinf)),
    **dict.fromkeys(["float32", "float", "complex64", "cfloat"], _Kind("f4", _not_finite, np.isinf)),
    **dict.fromkeys(["float16", "half", "complex32", "chalf"], _Kind("f2", _not_finite, np.isinf)),
    "bfloat16": _Kind("u2", _ones(0x7F80, 0x7F80), _ones(0x7FFF, 0x7F80), 0xFF80),
    "float8_e5m2": _Kind("u1", _ones(0x7C, 0x7C), _ones(0x7F, 0x7C), 0xFC),
    "float8_e4m3fn": _Kind("u1", _ones(0x7F, 0x7F), _exactly()),
    **dict.fromkeys(["float8_e4m3fnuz", "float8_e5m2fnuz"], _Kind("u1", _exactly(0x80), _exactly())),
    "float8_e8m0fnu": _Kind("u1", _exactly(0xFF), _exactly()),
}


class Scan:
    """The runs of bad bytes of one storage, read as one dtype, found chunk by chunk.

    Chunks other than the last hold whole elements.
    """

    def __init__(self, dtype: str, big_endian: bool) -> None:
        self._kind = KINDS[dtype]
        self._type = np.dtype(self._kind.code).newbyteorder(">" if big_endian else "<")
        self._runs: list[_Runs] = []
        self._read = 0
        self._is_mask, self._other = True, np.empty(0, self._type)

    def feed(self, chunk: bytes) -> None:
        """Looks at the next bytes of the storage."""
        item = self._type.itemsize
        values = np.frombuffer(chunk, self._type, count=len(chunk) // item)
        bad = self._kind.bad(values)
        if bad.any():
            runs = _runs(np.where(bad, np.where(self._kind.infinite(values), _INFINITE, _NAN), _FINE))
            if len(runs) > _MOST_RUNS:
                runs = np.array([[runs[0, 0], runs[-1, 1], runs[:, 2].max()]])
            runs[:, :2] = runs[:, :2] * item + self._read
            self._runs.append(runs)
        if self._is_mask:
            others = values[values != self._kind.minus]
            self._other = self._other if len(self._other) else others[:1]
            self._is_mask = bool((others == self._other).all())
        self._read += len(chunk)

    def spans(self) -> Spans | None:
        """What was found, None if everything is finite."""
        is_mask = self._is_mask and len(self._other) > 0 and not self._kind.bad(self._other)[0]
        return Spans(np.concatenate(self._runs), is_mask) if self._runs else None


@dataclass(frozen=True, slots=True)
class Spans:
    """Sorted runs of bad bytes; of a mask, where they are minus infinity and all else one finite number."""

    runs: _Runs
    is_mask: bool

    def within(self, start: int, stop: int) -> _Runs:
        """Those in [start, stop), counted from there."""
        first = np.searchsorted(self.runs[:, 1], start, side="right")
        runs = self.runs[first : np.searchsorted(self.runs[:, 0], stop)]
        return np.column_stack([runs[:, :2].clip(start, stop) - start, runs[:, 2]])

    @staticmethod
    def has_nan(runs: _Runs) -> bool:
        """Whether they are not all infinities."""
        return bool((runs[:, 2] == _NAN).any())


def _runs(marks: npt.NDArray[np.int8]) -> _Runs:
    """Half-open index ranges of the same mark, fine ones left out."""
    edges = np.flatnonzero(np.diff(marks, prepend=_FINE, append=_FINE))
    runs = np.column_stack([edges[:-1], edges[1:], marks[edges[:-1]]])
    bad: _Runs = runs[runs[:, 2] != _FINE]
    return bad
