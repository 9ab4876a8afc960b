"""Small pickles that ask for much memory or time: refused before they get it, wherever they are read."""

from __future__ import annotations

import contextlib
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainrelay.checkpoint import glance, inspect
from trainrelay.errors import CheckpointError

MOST_BYTES = 64_000_000
MOST_CPU_S = 10


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(raw)) + raw


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


ORDERED = b"ccollections\nOrderedDict\n"
ENCODE = b"c_codecs\nencode\n"
SUBCLASS = b"ctorch._tensor\n_rebuild_from_type_v2\n"
WEIGHT = (
    b"ctorch._utils\n_rebuild_tensor_v2\n(("
    + text("storage")
    + b"ctorch\nFloatStorage\n"
    + text("0")
    + text("cpu")
    + b"K\x02tQK\x00K\x02\x85K\x01\x85\x89}tR"
)


def numbers(count: int) -> bytes:
    return b"".join(b"J" + struct.pack("<i", number) for number in range(count))


def dictionary(count: int) -> bytes:
    return b"}(" + b"".join(b"J" + struct.pack("<i", number) + b"N" for number in range(count)) + b"u"


KEY = text("k" * 200)
BOMBS: dict[str, bytes] = {
    "bytes, encoded again and again": ENCODE + put(0) + text("x" * 4000) + text("latin1") + b"\x86" + put(1)
    + b"](" + (get(0) + get(1) + b"R") * 100_000 + b"e",
    "copies of a dictionary": ORDERED + put(0) + dictionary(100_000) + b"\x85" + put(1)
    + b"](" + (get(0) + get(1) + b"R") * 1000 + b"e",
    "a dictionary of the same one again and again": ORDERED + dictionary(50_000) + put(0)
    + b"0(" + get(0) * 100_000 + b"tR",
    "a dictionary of long pairs": b"(" + numbers(50_000) + b"t" + put(0) + b"0" + ORDERED
    + b"((" + get(0) * 100_000 + b"tt" + b"R",
    "objects made with long arguments": b"ccopy_reg\n_reconstructor\n" + put(0)
    + b"(cuuid\nUUID\n" + numbers(100_000) + b"t" + put(1)
    + b"](" + (get(0) + get(1) + b"R") * 10_000 + b"e",
    "subclasses in each other, again and again": SUBCLASS + put(0)
    + b"ctorch._utils\n_rebuild_sparse_tensor\nN)\x87" + put(1)
    + b"".join(b"0" + get(0) + b"N" + get(n) + b"\x87" + put(n + 1) for n in range(1, 100_000))
    + b"](" + (get(0) + get(99_999) + b"R") * 10_000 + b"e",
    "dictionaries": b"](" + b"}" * 2_900_000 + b"e",
    "objects": b"ctorch\nSize\n" + put(0) + b"](" + (get(0) + b")\x81") * 900_000 + b"e",
    "numbers": b"](" + (b"G" + b"\x01" * 8) * 2_900_000 + b"e",
    "marks": b"(" * 2_900_000,
    "lists of numbers": b"](" + (b"G" + b"\x01" * 8) * 1000 + b"e" + (b"(" + b"N" * 65 + b"e") * 400_000,
    "marks above a list": b"]" + b"(1" * 1_000_000,
    "numbers that are no items": b"]" + (b"(" + b"N" * 64 + b"1") * 44_000,
    "a deep list": b"]" * 1_400_000 + b"a" * 1_399_999,
    "references": b"](N" + b"2" * 2_900_000 + b"e",
    "a long memo": b"N" + b"\x94" * 2_900_000,
    "nothing, for long": b"N" + b"N0" * 4_000_000,
    "a long text": b"]" + text(b"x" * 70_000_000) + b"a",
    "a text of wide letters": b"]" + text(b"x" * 30_000_000 + "\U0001f600".encode()) + b"a",
    "a long number": b"]\x8b" + struct.pack("<i", 70_000_000) + b"\x01" * 70_000_000 + b"a",
    "a long line": b"I" + b"1" * 70_000_000 + b"\n",
    "a long name": b"c" + b"x" * 70_000_000 + b"\nx\n",
    "long names of many weights": WEIGHT + put(0) + b"0" + (b"}" + KEY) * 5 + b"}("
    + b"".join(b"J" + struct.pack("<i", n) + get(0) for n in range(150_000)) + b"u" + b"s" * 5,
    "dictionaries to look through": b"](" + b"}" * 400_000 + b"e",
    "lists in each other to look through": b"](" + b"}" * 350_000 + b"]" * 39_000 + b"a" * 38_999 + b"e",
}  # fmt: skip


def bomb(path: Path, hostile: bytes, members: int = 0) -> Path:
    """A checkpoint with the bomb among its weights, and members that nothing refers to."""
    weights = b"}" + text("w") + WEIGHT + b"s" + text("x") + hostile + b"s"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}" + text("model") + weights + b"s.")
        archive.writestr("archive/data/0", b"\xff" * 8)
        for number in range(members):
            archive.writestr(f"archive/{number:030}", b"")
    return path


def cost(read: Callable[[Path], Any], path: Path) -> tuple[int, float]:
    """The bytes that reading needs at its most, and the CPU seconds; the answer is not looked at."""
    start = time.process_time()
    with contextlib.suppress(CheckpointError):
        read(path)
    cpu_s = time.process_time() - start
    tracemalloc.start()
    try:
        with contextlib.suppress(CheckpointError):
            read(path)
        return tracemalloc.get_traced_memory()[1], cpu_s
    finally:
        tracemalloc.stop()


QUICK = {
    "bytes, encoded again and again",
    "copies of a dictionary",
    "a dictionary of long pairs",
    "objects made with long arguments",
    "a long text",
    "a text of wide letters",
}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in BOMBS]
)
def test_a_small_file_gets_neither_much_memory_nor_time(tmp_path: Path, name: str) -> None:
    used_bytes, cpu_s = cost(inspect, bomb(tmp_path / "x.pth", BOMBS[name]))
    assert used_bytes < MOST_BYTES
    assert cpu_s < MOST_CPU_S


@pytest.mark.long
def test_nor_does_it_where_plans_are_made_and_with_as_many_members_as_there_may_be(tmp_path: Path) -> None:
    path = bomb(tmp_path / "x.pth", BOMBS["bytes, encoded again and again"], members=39_000)
    used_bytes, cpu_s = cost(glance, path)
    assert used_bytes < MOST_BYTES
    assert cpu_s < MOST_CPU_S


def test_a_training_of_100_000_iterations_with_the_history_of_every_loss_is_read(tmp_path: Path) -> None:
    """mmengine keeps two arrays for each value that it logs; they are not held in memory."""
    history = {f"train/loss_{name}": [np.random.rand(100_000), np.ones(100_000)] for name in range(20)}
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        whole = {"meta": {"epoch": 12, "iter": 100_000}, "message_hub": history, "state_dict": "weights"}
        data = pickle.dumps(whole, protocol=2)
        weights = b"}" + text("w") + WEIGHT + b"s"
        archive.writestr("archive/data.pkl", data.replace(text("weights"), weights, 1))
        archive.writestr("archive/data/0", bytes(8))
    assert path.stat().st_size > 30_000_000
    assert glance(path).number == 12
    assert cost(inspect, path)[0] < MOST_BYTES


@pytest.mark.parametrize("protocol", [2, 4])
def test_lists_of_millions_of_numbers_are_read(tmp_path: Path, protocol: int) -> None:
    """Such as the loss of each step, and the order of a data set."""
    torch = pytest.importorskip("torch")
    parts = {"model": {"w": torch.ones(2)}, "optimizer": {"x": 1}, "epoch": 1}
    history = {"losses": [n / 3 for n in range(1_000_000)], "order": list(range(1_281_167))}
    torch.save({**parts, **history}, tmp_path / "x.pth", pickle_protocol=protocol)
    assert glance(tmp_path / "x.pth").number == 1
