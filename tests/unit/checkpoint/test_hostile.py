"""Checkpoints made to run code or to exhaust the machine: nothing runs, and the wish is named."""

from __future__ import annotations

import collections
import contextlib
import copyreg
import decimal
import io
import os
import pickle
import struct
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from torch._tensor import _rebuild_from_type_v2
from torch._utils import _rebuild_device_tensor_from_numpy, _rebuild_parameter_with_state

from trainrelay.checkpoint import inspect, machine
from trainrelay.checkpoint.problems import BrokenFile, UnsafeFile
from trainrelay.errors import CheckpointError


class Payload:
    """Calls a function with arguments when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "MARK"


def refusal(path: Path, mark: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        inspect(path)
    assert not mark.exists()
    return str(caught.value)


def payloads(mark: Path) -> dict[str, Payload]:
    return {
        "posix.system": Payload(os.system, f"touch {mark}"),
        "builtins.eval": Payload(eval, f"open({str(mark)!r}, 'w')"),
        "builtins.exec": Payload(exec, f"open({str(mark)!r}, 'w')"),
        "subprocess.Popen": Payload(subprocess.Popen, ["touch", str(mark)]),
        "torch.storage._load_from_bytes": Payload(torch.storage._load_from_bytes, b"x"),
    }


@pytest.mark.parametrize("place", ["meta", "state_dict", "optimizer", "top"])
@pytest.mark.parametrize("wish", ["posix.system", "builtins.eval", "builtins.exec", "subprocess.Popen"])
def test_a_real_payload_anywhere_in_a_checkpoint_is_named_and_does_not_run(
    tmp_path: Path, mark: Path, mmcv_style: Callable[..., dict[str, Any]], place: str, wish: str
) -> None:
    whole: dict[str, Any] = mmcv_style()
    (whole if place == "top" else whole[place])["x"] = [{"deep": payloads(mark)[wish]}]
    path = tmp_path / "evil.pth"
    torch.save(whole, path)
    message = refusal(path, mark)
    assert f"wants to call {wish} " in message
    assert "nothing of it was run" in message


@pytest.mark.process
def test_the_payload_is_real(tmp_path: Path, mark: Path) -> None:
    """Else the other tests would prove nothing: torch itself does run it."""
    torch.save({"x": payloads(mark)["posix.system"]}, tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert mark.exists()


def test_a_stepping_stone_to_a_payload_is_named(tmp_path: Path, mark: Path) -> None:
    wish = "torch.storage._load_from_bytes"
    whole = {"state_dict": {"w": torch.ones(1)}, "x": payloads(mark)[wish].call[0]}
    torch.save(whole, tmp_path / "evil.pth")
    assert wish in refusal(tmp_path / "evil.pth", mark)


Schedule = torch.optim.lr_scheduler.OneCycleLR


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD", "RMSprop"])
@pytest.mark.parametrize("formula", ["_annealing_cos", "_annealing_linear"])
def test_a_one_cycle_schedule_of_older_torch_is_read(
    tmp_path: Path, mmcv_style: Callable[..., dict[str, Any]], kind: str, formula: str
) -> None:
    """As torch 1.9 saves it: its state holds a bound method, and with it the schedule and its optimizer."""
    optimizer = getattr(torch.optim, kind)([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    schedule = Schedule(optimizer, 1.0, 10, cycle_momentum=kind != "RMSprop")
    schedule.anneal_func = types.MethodType(getattr(Schedule, formula), schedule)
    torch.save({**mmcv_style(), "lr_scheduler": schedule.state_dict()}, tmp_path / "x.pth")
    loaded = torch.load(tmp_path / "x.pth", weights_only=False)
    assert loaded["lr_scheduler"]["anneal_func"] is getattr(Schedule, formula)
    assert inspect(tmp_path / "x.pth").finite


def test_the_values_that_mmengine_logged_are_read_with_the_methods_that_it_keeps_beside_them(
    tmp_path: Path, mmcv_style: Callable[..., dict[str, Any]]
) -> None:
    """Each of its checkpoints holds HistoryBuffers, and those the methods by which they are asked."""
    buffer = HistoryBuffer([0.5, 0.25], [1, 1])
    torch.save({**mmcv_style(), "message_hub": {"log_scalars": {"train/loss": buffer}}}, tmp_path / "x.pth")
    loaded = torch.load(tmp_path / "x.pth", weights_only=False)
    assert loaded["message_hub"]["log_scalars"]["train/loss"].statistics("mean") == 0.375
    assert inspect(tmp_path / "x.pth").finite


@pytest.mark.parametrize(
    ("module", "name"), [("dictconfig", "DictConfig"), ("listconfig", "ListConfig"), ("nodes", "StringNode")]
)
def test_a_config_of_omegaconf_is_read_but_makes_nothing_of_what_it_is_called_with(
    tmp_path: Path,
    mark: Path,
    mmcv_style: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
) -> None:
    """Lightning saves one as the hyperparameters of a script of Hydra's."""
    config = type(name, (), {"__module__": f"omegaconf.{module}"})
    for imported in ("omegaconf", config.__module__):
        monkeypatch.setitem(sys.modules, imported, types.SimpleNamespace(**{name: config}))
    config.__init__ = lambda self, *args: self.__dict__.update(_content={"lr": 0.1}, _parent=None)
    torch.save({**mmcv_style(), "hyper_parameters": config()}, tmp_path / "x.ckpt")
    assert inspect(tmp_path / "x.ckpt").finite
    torch.save({**mmcv_style(), "hyper_parameters": Payload(config, range(MUCH))}, tmp_path / "x.ckpt")
    assert f"wants to call omegaconf.{module}.{name} with" in refusal(tmp_path / "x.ckpt", mark)


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (Schedule, "step"),
        (Path, "_annealing_cos"),
        (torch.optim.SGD, "step"),
        ({}, "get"),
        (HistoryBuffer, "register_statistics"),
        (Schedule, "mean"),
    ],
)
def test_no_other_attribute_is_looked_up(tmp_path: Path, mark: Path, of: Any, name: str) -> None:
    whole = {"state_dict": {"w": torch.ones(1)}, "x": Payload(getattr, of, name)}
    torch.save(whole, tmp_path / "evil.pth")
    assert "wants to call builtins.getattr " in refusal(tmp_path / "evil.pth", mark)


ANNEAL = b"c__builtin__\ngetattr\nctorch.optim.lr_scheduler\nOneCycleLR\n" + b"X\x0e\0\0\0_annealing_cos\x86R"


@pytest.mark.parametrize("use", [b"K\x01K\x02K\x03\x87R", b"}b", b")\x81", b"Na"])
def test_nothing_can_be_done_with_the_formula(use: bytes) -> None:
    unpickle(ANNEAL + b".", no_storage)
    with pytest.raises(BrokenFile):
        unpickle(ANNEAL + use + b".", no_storage)


# ---------------------------------------------------------------------- calls that make much of little

MUCH = 10**11
HUGE = b"\x8a\x08" + b"\xff" * 7 + b"\x0f"
RECONSTRUCT = np.zeros(0).__reduce__()[0]


class Array:
    """A numpy array of any shape and as many objects as one likes."""

    def __init__(self, shape: tuple[int, ...], objects: Any) -> None:
        self.state = (1, shape, np.dtype("O"), False, objects)

    def __reduce__(self) -> Any:
        return RECONSTRUCT, (np.ndarray, (0,), b"b"), self.state


MADE_OF_LITTLE: dict[str, Any] = {
    "bytearray": Payload(bytearray, MUCH),
    "bytes": Payload(bytes, MUCH),
    "a list of a range": Payload(list, range(MUCH)),
    "a tuple of one": Payload(tuple, range(MUCH)),
    "a set of one": Payload(set, range(MUCH)),
    "a counter of one": Payload(collections.Counter, range(MUCH)),
    "a deque of one": Payload(collections.deque, range(MUCH), 5),
    "a size of one": Payload(torch.Size, range(MUCH)),
    "a number of many digits": Payload(int, decimal.Decimal("1e999999999")),
    "a text of a list": Payload(str, [[]]),
    "a storage": Payload(torch.FloatStorage, MUCH),
    "a tensor": Payload(torch.Tensor, MUCH),
    "a numpy array": Payload(np.ndarray, (MUCH,)),
    "a numpy array, reconstructed": Payload(RECONSTRUCT, np.ndarray, (MUCH,), b"b"),
    "a numpy array of objects that are not there": Array((MUCH,), []),
    "one of fewer objects": Array((101,), list(range(100))),
    "one of objects in something else": Array((1,), {}),
    "an object of bytes": Payload(copyreg._reconstructor, bytes, bytes, MUCH),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("what", MADE_OF_LITTLE)
def test_what_is_larger_than_the_file_is_unsafe(
    tmp_path: Path, mark: Path, mmcv_style: Callable[..., dict[str, Any]], what: str
) -> None:
    """torch would give it memory, or read what is not there."""
    torch.save({**mmcv_style(), "x": MADE_OF_LITTLE[what]}, tmp_path / "x.pth")
    assert " is unsafe: it wants to " in refusal(tmp_path / "x.pth", mark)


@pytest.mark.parametrize("form", [b"\x85\x81", b"\x85}\x92", b"\x85R"], ids=["NEWOBJ", "NEWOBJ_EX", "REDUCE"])
def test_however_the_call_is_written(form: bytes) -> None:
    made = b"c__builtin__\ntuple\nc__builtin__\nxrange\n" + HUGE + b"\x85R"
    with pytest.raises(UnsafeFile, match="tuple"):
        unpickle(made + form + b".", no_storage)


def test_what_picklers_write_of_the_same_types_is_read(
    tmp_path: Path, mmcv_style: Callable[..., dict[str, Any]]
) -> None:
    numbers = list(range(3000))
    extras = [
        range(MUCH), set(numbers), frozenset(numbers), collections.deque(numbers, 5), torch.Size((2, 3)),
        bytearray(b"x" * 9000), bytearray(), b"x" * 9000, np.array([*numbers, "x"], object), np.zeros((3, 4)),
        np.array(["a"] * 3000), np.array([[numbers], [numbers]], object), np.array([], object),
    ]  # fmt: skip
    for protocol in (2, 4, 5):
        torch.save({**mmcv_style(), "x": extras}, tmp_path / "x.pth", pickle_protocol=protocol)
        assert inspect(tmp_path / "x.pth").finite


def test_a_payload_in_the_old_format_is_not_run_either(tmp_path: Path, mark: Path) -> None:
    whole = {"x": payloads(mark)["posix.system"]}
    torch.save(whole, tmp_path / "evil.pth", _use_new_zipfile_serialization=False)
    refusal(tmp_path / "evil.pth", mark)


# ---------------------------------------------------------------------- pickles made by hand


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


SYSTEM = b"cposix\nsystem\n"
CALL = text("touch MARK") + b"\x85R."

UNSAFE = {
    "GLOBAL and REDUCE": (b"\x80\x02" + SYSTEM + CALL, "posix.system"),
    "STACK_GLOBAL": (b"\x80\x04" + text("posix") + text("system") + b"\x93" + CALL, "posix.system"),
    "STACK_GLOBAL with a dotted name": (
        b"\x80\x04" + text("torch") + text("serialization.os.system") + b"\x93" + CALL,
        "torch.serialization.os.system",
    ),
    "OBJ": (b"(" + SYSTEM + text("touch MARK") + b"o.", "posix.system"),
    "NEWOBJ": (b"\x80\x02csubprocess\nPopen\n" + text("touch MARK") + b"\x85\x81.", "subprocess.Popen"),
    "Python 2's name of a module": (b"c__builtin__\neval\n" + CALL, "builtins.eval"),
    "copyreg and a foreign class": (
        b"ccopy_reg\n_reconstructor\n(csubprocess\nPopen\nc__builtin__\nobject\nNtR.",
        "subprocess.Popen",
    ),
    "a class never called": (b"]" + SYSTEM + b"a.", "posix.system"),
    "state set on a shared class": (b"ctorch\nSize\n}" + text("__len__") + b"NsbN.", "change torch.Size"),
    "a function hidden in a subclassed tensor": (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(" + SYSTEM + b"N" + text("touch MARK") + b"\x85NtR.",
        "posix.system",
    ),
    "terminal escapes in the name": (b"\x80\x04" + text("\x1b[2J") + text("x") + b"\x93.", r"\x1b[2J.x"),
    "a default factory": (b"ccollections\ndefaultdict\n" + SYSTEM + b"\x85R.", "posix.system"),
}

BROKEN = {
    "nothing": b"",
    "no end": b"\x80\x02}",
    "an empty stack": b".",
    "no mark": b"t.",
    "a recall of nothing": b"h\x05.",
    "a memo index that would fill the memory": b"}r\xff\xff\xff\xff.",
    "a negative memo index": b"}p-1\n.",
    "a pop below a mark": b"N(s.",
    "a text beyond its end": b"X\x00\x00\x00\x10abc.",
    "a call of text": text("os.system") + b")R.",
    "a call with a list": b"ctorch\nSize\n]R.",
    "an object of text": text("x") + b")\x81.",
    "a state on a list": b"]}b.",
    "an item of text": text("x") + b"Na.",
    "an entry of a list": b"]NNs.",
    "a key without a value": b"(Nd.",
    "INST": b"(" + text("touch MARK") + b"iposix\nsystem\n.",
    "OBJ": b"(ctorch\nSize\no.",
    "an extension code": b"\x82\x01.",
    "an out-of-band buffer": b"\x97.",
    "a textual persistent id": b"Pstorage\n.",
    "an odd persistent id": b"NQ.",
    "a global that is not text": b"NN\x93.",
    "bytes encoded as something else": b"c_codecs\nencode\n" + text("x") + text("rot13") + b"\x86R.",
    "a length of 2**63": b"\x8e" + b"\xff" * 7 + b"\x7f.",
    "a length of 2**62 as a bytearray": b"\x96" + b"\x00" * 7 + b"\x40.",
    "a number of many digits": b"L" + b"9" * 100_000 + b"L\n.",
    "a tensor without a storage": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)Nt(NNttR.",
}


def no_storage(said: object) -> object:
    raise BrokenFile("refers to a storage")


def unpickle(data: bytes, load_storage: Callable[[object], object]) -> object:
    return machine.unpickle(io.BytesIO(data), load_storage)


@pytest.mark.parametrize("trick", UNSAFE)
def test_a_trick_to_reach_code_is_named(trick: str) -> None:
    data, wish = UNSAFE[trick]
    with pytest.raises(UnsafeFile) as caught:
        unpickle(data, no_storage)
    assert wish in str(caught.value)


@pytest.mark.parametrize("trick", BROKEN)
def test_a_pickle_that_makes_no_sense_is_broken_and_nothing_worse(trick: str) -> None:
    with pytest.raises(BrokenFile):
        unpickle(BROKEN[trick], no_storage)


def test_state_set_on_a_stand_in_changes_that_one_alone() -> None:
    state = b"}(" + text("__class__") + b"N" + text("maker") + b"Nub"
    first, second = unpickle(  # type: ignore[misc]
        b"](ctorch\nSize\n)R" + state + b"ctorch\nSize\n)Re.", no_storage
    )
    assert type(first) is type(second)
    assert second.state is None
    assert first.maker.path == "torch.Size"


# ---------------------------------------------------------------------- bombs


def zipped(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", b"\x00" * 8)
    return path


def view(offset: int, size: bytes, stride: bytes) -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x02tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"K"
        + bytes([offset])
        + size
        + stride
        + b"\x89}tR"
    )


def weights(tensor: bytes) -> bytes:
    return b"}" + text("state_dict") + b"}" + text("w") + tensor + b"ss."


def test_the_hand_made_checkpoint_is_sound_before_it_is_made_hostile(tmp_path: Path) -> None:
    facts = inspect(zipped(tmp_path / "x.pth", weights(view(0, b"K\x02\x85", b"K\x01\x85"))))
    assert (facts.tensors, facts.parameters, facts.finite) == (1, 2, True)


@pytest.mark.parametrize(
    "tensor",
    [
        view(1, b"K\x02\x85", b"K\x01\x85"),
        view(0, b"K\x03\x85", b"K\x01\x85"),
        view(0, HUGE + b"\x85", b"K\x01\x85"),
        view(0, HUGE + b"\x85", b"K\x00\x85"),
        view(0, HUGE * 3 + b"\x87", b"K\x00K\x00K\x00\x87"),
        view(0, b"K\x02\x85", b")"),
        view(0, b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
        view(0, b"N\x85", b"K\x01\x85"),
        view(0, b"K\x02", b"K\x01"),
    ],
    ids=["offset", "size", "huge", "expanded", "expanded-thrice", "no-stride", "negative", "none", "bare"],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path, tensor: bytes) -> None:
    with pytest.raises(CheckpointError):
        inspect(zipped(tmp_path / "x.pth", weights(tensor)))


def test_structures_that_end_or_stop_a_plain_unpickler_are_harmless(tmp_path: Path) -> None:
    """Deep keys overflow the C stack when hashed, doubled ones never end."""
    tensor = view(0, b"K\x02\x85", b"K\x01\x85")
    deep_key = b"}" + b")" + b"\x85" * 200_000 + b"Ns"
    doubled_key = b"}" + b")" + b"2\x86" * 200 + b"Ns"
    deep_list = b"]" * 30_000 + b"a" * 29_999
    itself = b"]q\x00h\x00a"
    for hostile in (deep_key, doubled_key, deep_list, itself):
        inner = b"}" + text("w") + tensor + b"s" + text("x") + hostile + b"s"
        facts = inspect(zipped(tmp_path / "x.pth", b"}" + text("state_dict") + inner + b"s."))
        assert facts.tensors == 1


def test_more_objects_than_any_checkpoint_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainrelay.checkpoint.machine.MOST_OPCODES", 1000)
    unpickle(b"N0" * 400 + b"N.", no_storage)
    with pytest.raises(BrokenFile, match="more objects"):
        unpickle(b"N0" * 600 + b"N.", no_storage)


def test_a_pickle_larger_than_any_checkpoints_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainrelay.checkpoint.archive.MOST_PICKLE_BYTES", 10)
    with pytest.raises(CheckpointError, match="larger than any"):
        inspect(zipped(tmp_path / "x.pth", weights(view(0, b"K\x02\x85", b"K\x01\x85"))))


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """The overlapping zip bomb: a small file that declares the same bytes many times."""
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", weights(view(0, b"K\x02\x85", b"K\x01\x85")))
        archive.writestr("archive/data/0", bytes(8))
        for number in range(1, 50):
            info = zipfile.ZipInfo(f"archive/data/{number}")
            archive.writestr(info, b"")
            info.file_size = info.compress_size = 10_000
    with pytest.raises(CheckpointError, match="torch could load other data"):
        inspect(path)


# ---------------------------------------------------------------------- fuzz

quick = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@quick
@given(st.binary(max_size=400))
def test_random_bytes_in_place_of_the_pickle_are_refused_and_nothing_worse(
    tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(CheckpointError):
        inspect(zipped(tmp_path / "x.pth", data))


@quick
@given(st.binary(max_size=400), st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02"]))
def test_random_bytes_in_place_of_the_file_are_refused_and_nothing_worse(
    tmp_path: Path, data: bytes, head: bytes
) -> None:
    (tmp_path / "x.pth").write_bytes(head + data)
    with pytest.raises(CheckpointError):
        inspect(tmp_path / "x.pth")


OPCODES = st.sampled_from([bytes([code]) for code in b"(.01234]})lltaueshgbRQ\x81\x85\x86\x87\x88\x89\x93oN"])
NAMES = [
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"ctorch\nFloatStorage\n",
    b"ccollections\nOrderedDict\n",
    b"ccopy_reg\n_reconstructor\n",
    b"cnumpy.core.multiarray\nscalar\n",
]
PIECES = st.sampled_from(
    [text("storage"), text("0"), text("state_dict"), b"K\x01", b"q\x00", b"h\x00", *NAMES]
)


@quick
@given(st.lists(st.one_of(OPCODES, PIECES), max_size=40))
def test_opcodes_in_any_order_give_data_or_a_refusal(pieces: list[bytes]) -> None:
    with contextlib.suppress(BrokenFile, UnsafeFile):
        unpickle(b"".join(pieces) + b".", no_storage)


@quick
@given(st.data())
def test_a_mutated_checkpoint_is_read_or_refused_and_nothing_worse(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes anywhere in the file: headers, pickle, tensors, directory."""
    whole = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "x.pth").write_bytes(whole)
    with contextlib.suppress(CheckpointError):
        inspect(tmp_path / "x.pth")


@quick
@given(st.data())
def test_a_mutated_pickle_is_read_or_refused_and_nothing_worse(tmp_path: Path, data: st.DataObject) -> None:
    """With right checksums, so that the machine sees every mutation."""
    pickled = bytearray(SOUND_PICKLE)
    for _ in range(data.draw(st.integers(1, 4))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("archive/data.pkl", bytes(pickled))
        for name, member in SOUND_MEMBERS.items():
            archive.writestr(name, member)
    with contextlib.suppress(CheckpointError):
        inspect(tmp_path / "x.pth")


def _sound() -> bytes:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    parts = {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
    buffer = io.BytesIO()
    torch.save({"meta": {"epoch": 1, "iter": 5}} | parts, buffer)
    return buffer.getvalue()


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


SOUND = _sound()
SOUND_MEMBERS = _members(SOUND)
SOUND_PICKLE = SOUND_MEMBERS.pop("archive/data.pkl")


def test_a_plain_unpickler_agrees_with_the_machine_on_plain_data() -> None:
    values = [1, -(2**70), 2.5, "é", b"x", None, True, {"a": [1, (2, 3), {}]}, [[]], ()]
    for protocol in range(6):
        assert unpickle(pickle.dumps(values, protocol), no_storage) == values


def patched(path: Path, old: bytes, new: bytes) -> Path:
    """torch's own file with some bytes of its pickle replaced, and its checksum right."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            assert not name.endswith("data.pkl") or data.count(old) == 1
            archive.writestr(name, data.replace(old, new) if name.endswith("data.pkl") else data)
    return path


def test_a_numpy_type_that_hides_its_objects_is_unsafe(
    tmp_path: Path, mark: Path, mmcv_style: Callable[..., dict[str, Any]]
) -> None:
    """With flags 0, numpy would take bytes of the file for pointers and follow them."""
    path = tmp_path / "x.pth"
    torch.save({**mmcv_style(), "args": np.dtype("O")}, path)
    assert inspect(path).finite
    flags = b"K?t"  # 63, then the end of the state
    assert "numpy type" in refusal(patched(path, flags, b"K\x00t"), mark)
    torch.save({**mmcv_style(), "args": np.dtype([("a", "O"), ("b", "i8")])}, path)
    assert "numpy type of fields" in refusal(path, mark)


class Text:
    """A text that only torch makes of it."""

    def __reduce__(self) -> Any:
        return str, ("state_dict",)


def test_a_key_that_only_torch_takes_for_the_weights_is_unsafe(
    tmp_path: Path, mark: Path, mmcv_style: Callable[..., dict[str, Any]]
) -> None:
    whole = {**mmcv_style(), Text(): {"w": torch.full((2,), float("nan"))}}
    torch.save(whole, tmp_path / "x.pth")
    loaded = torch.load(tmp_path / "x.pth", weights_only=False)
    assert torch.isnan(loaded["state_dict"]["w"]).all(), "torch does not, so this test would prove nothing"
    assert "name a part twice" in refusal(tmp_path / "x.pth", mark)


def test_a_state_that_gives_a_tensor_other_data_is_unsafe(
    tmp_path: Path, mark: Path, mmcv_style: Callable[..., dict[str, Any]]
) -> None:
    whole = mmcv_style()
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.data_of_mine = 1  # an attribute: torch saves the parameter with its state
    whole["state_dict"]["p"] = parameter
    torch.save(whole, tmp_path / "x.pth")
    assert inspect(tmp_path / "x.pth").finite
    parameter.__dict__["data"] = torch.full((2,), float("nan"))
    torch.save(whole, tmp_path / "y.pth")
    assert "other data" in refusal(tmp_path / "y.pth", mark)


NAN = torch.full((2,), float("nan"))
OTHER_DATA: dict[str, Callable[[Any, Any], Payload]] = {
    "among attributes": lambda make, of: Payload(
        _rebuild_from_type_v2, make, torch.Tensor, of, ({"data": NAN}, None)
    ),
    "among slots": lambda make, of: Payload(
        _rebuild_from_type_v2, make, torch.Tensor, of, (None, {"data": NAN})
    ),
    "of a parameter": lambda make, of: Payload(
        _rebuild_parameter_with_state, torch.ones(2), False, collections.OrderedDict(), ({"data": NAN}, None)
    ),
    "made by a call": lambda make, of: Payload(
        _rebuild_from_type_v2, make, torch.Tensor, of, {"data": Payload(torch.nn.Parameter, NAN, False)}
    ),
    "from numpy": lambda make, of: Payload(
        _rebuild_device_tensor_from_numpy, NAN.numpy(), NAN.dtype, "cpu", False
    ),
}


@pytest.mark.parametrize("hidden", OTHER_DATA)
def test_no_form_of_a_state_gives_a_tensor_other_data(
    tmp_path: Path, mark: Path, mmcv_style: Callable[..., dict[str, Any]], hidden: str
) -> None:
    weights = {"w": OTHER_DATA[hidden](*torch.ones(2).__reduce_ex__(2)[:2])}
    torch.save(mmcv_style(state_dict=weights), tmp_path / "x.pth")
    loaded = torch.load(tmp_path / "x.pth", weights_only=False)
    assert torch.isnan(loaded["state_dict"]["w"]).all(), "torch does not, so this test would prove nothing"
    assert "unsafe" in refusal(tmp_path / "x.pth", mark)


def test_a_state_for_something_else_than_a_tensor_is_refused(
    tmp_path: Path, mark: Path, mmcv_style: Callable[..., dict[str, Any]]
) -> None:
    """numpy reads objects where there are none; the state of such a call is looked at nowhere else."""
    state = Array((9,), []).state
    hidden = Payload(_rebuild_from_type_v2, RECONSTRUCT, np.ndarray, (np.ndarray, (0,), b"b"), state)
    torch.save({**mmcv_style(), "x": hidden}, tmp_path / "x.pth")
    assert "as if it made a tensor" in refusal(tmp_path / "x.pth", mark)
