"""The file that safetensors writes: a length, a JSON table of tensors, then their bytes without a gap.

https://huggingface.co/docs/safetensors (format). It has no checksums: that every byte belongs to one tensor
is all that can be held against it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import IO, Any

import orjson

from trainrelay.checkpoint.allowed import ITEM_BYTES
from trainrelay.checkpoint.problems import CUT, EMPTY, BrokenFile
from trainrelay.checkpoint.values import Storage, Tensor
from trainrelay.system.files import CHUNK_BYTES

_LENGTH = struct.Struct("<Q")
_MOST_TABLE_BYTES = 16 * 1024 * 1024  # about 100 for each tensor
_MOST_TENSORS = 40_000  # as of a file of torch.save
_METADATA = "__metadata__"
_DTYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "C64": "complex64"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"},
}


class SafeTensors:
    """The tensors of one file by name, each a storage by itself; `file` is open and its size known."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._at = file, dict[str, int]()
        self.tensors = dict[str, Tensor]()
        if size == 0:
            raise BrokenFile(EMPTY)
        table, start = self._table(size)
        for name, (first, stop, dtype, shape) in sorted(table.items(), key=lambda one: one[1][:2]):
            if first != start:
                raise BrokenFile("has bytes that belong to no tensor, or to two")
            bytes_, numel = stop - first, math.prod(shape)
            if bytes_ != numel * ITEM_BYTES[dtype]:
                raise BrokenFile("declares a size for a tensor that is not its size")
            storage = Storage(name, dtype, bytes_)
            self._at[name], start = first, stop
            self.tensors[name] = Tensor(storage, dtype, 0, bytes_, shape, numel)
        if start != size:
            raise BrokenFile(CUT if start > size else "has bytes that belong to no tensor, or to two")

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a tensor, in pieces of whole elements."""
        first, size = self._at[name], self.tensors[name].stop
        for at in range(first, first + size, CHUNK_BYTES):
            self._file.seek(at)
            yield self._file.read(min(CHUNK_BYTES, first + size - at))

    def _table(self, size: int) -> tuple[dict[str, tuple[int, int, str, tuple[int, ...]]], int]:
        """By name the first byte and the one after the last, the type and the shape; where the first is."""
        head = self._file.read(_LENGTH.size)
        length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else size
        start = _LENGTH.size + length
        if start > size:
            raise BrokenFile(CUT)
        if length > _MOST_TABLE_BYTES:
            raise BrokenFile("holds a table that is larger than any checkpoint's")
        try:
            said: Any = orjson.loads(self._file.read(length))
            rows = {name: row for name, row in said.items() if name != _METADATA}
            found = {name: _row(row, start) for name, row in rows.items()}
        except (ValueError, TypeError, AttributeError, LookupError):
            raise BrokenFile("holds a damaged table of tensors") from None
        if len(found) > _MOST_TENSORS:
            raise BrokenFile("holds more tensors than any checkpoint does")
        return found, start


def _row(row: dict[str, Any], start: int) -> tuple[int, int, str, tuple[int, ...]]:
    (first, stop), shape = row["data_offsets"], tuple(row["shape"])
    if not all(type(one) is int and 0 <= one < 2**53 for one in (first, stop, *shape)) or len(shape) > 64:
        raise ValueError
    return start + first, start + stop, _DTYPES[row["dtype"]], shape
