"""Reading real checkpoints: what is found in sound ones, and how broken ones are refused."""

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainrelay.checkpoint import inspect, sources
from trainrelay.checkpoint.inspection import examine
from trainrelay.errors import CheckpointError

Make = Callable[..., dict[str, Any]]


def state(path: Path, value: Any, **parts: Any) -> Path:
    torch.save(
        {"meta": {"epoch": 1, "iter": 1}, "state_dict": {"w": value}, "optimizer": {"x": 1}} | parts, path
    )
    return path


# ---------------------------------------------------------------------- sound ones


def test_a_checkpoint_of_mmcv_itself_is_read_whole(
    tmp_path: Path, trained: tuple[Any, Any], mmcv_runner: Any
) -> None:
    model, optimizer = trained
    path = tmp_path / "epoch_3.pth"
    meta = {
        "epoch": 3,
        "iter": 30,
        "config": "a = 1\n" * 1000,
        "CLASSES": ("car", "bus"),
        "hook_msgs": {"best_score": np.float64(0.5), "last_ckpt": str(path), "counts": np.arange(3)},
        "seed": np.int64(7),
    }
    mmcv_runner.save_checkpoint(model, str(path), optimizer=optimizer, meta=meta)
    whole = examine(path)
    facts = whole.facts
    assert (facts.epoch, facts.iteration, facts.tensors) == (3, 30, len(model.state_dict()))
    assert facts.parameters == sum(value.numel() for value in model.state_dict().values())
    assert facts.finite
    assert facts.first_non_finite is None
    assert not whole.missing
    assert facts.file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts.file.size == path.stat().st_size


def test_an_epoch_saved_as_a_numpy_number_is_still_a_number(saved: Path, mmcv_style: Make) -> None:
    torch.save(mmcv_style(meta={"epoch": np.int64(4), "iter": np.int32(44)}), saved)
    assert (inspect(saved).epoch, inspect(saved).iteration) == (4, 44)


def test_the_detr_layout_counts_epochs_from_zero_and_facts_count_finished_ones(
    tmp_path: Path, trained: tuple[Any, Any]
) -> None:
    model, optimizer = trained
    path = tmp_path / "checkpoint.pth"
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [5])
    parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(parts | {"lr_scheduler": schedule.state_dict(), "args": argparse.Namespace(lr=1e-4)}, path)
    assert (inspect(path, 1).epoch, inspect(path, 1).tensors) == (4, len(model.state_dict()))
    assert inspect(path).epoch == 3
    assert not examine(path).missing


def test_bare_weights_are_read_but_are_not_complete(tmp_path: Path, trained: tuple[Any, Any]) -> None:
    path = tmp_path / "resnet50.pth"
    torch.save(trained[0].state_dict(), path)
    whole = examine(path)
    assert whole.facts.tensors == 7
    assert whole.facts.epoch is None
    assert whole.missing


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ({"optimizer": None}, ("optimizer",)),
        ({"meta": {}}, ("meta.epoch", "meta.iter")),
        ({"meta": {"epoch": 1}}, ("meta.iter",)),
        ({"meta": {"epoch": "1", "iter": True}}, ("meta.epoch", "meta.iter")),
        ({"meta": {"epoch": -1, "iter": 10**30}}, ("meta.epoch", "meta.iter")),
    ],
)
def test_a_checkpoint_that_lacks_what_a_resume_needs_says_what(
    saved: Path, mmcv_style: Make, parts: dict[str, Any], missing: tuple[str, ...]
) -> None:
    torch.save(mmcv_style(**parts), saved)
    assert examine(saved).missing == missing


def test_harmless_things_that_trainers_put_beside_the_weights_are_accepted(tmp_path: Path) -> None:
    extras = {
        "a": collections.defaultdict(list, x=[1]),
        "b": collections.Counter("abba"),
        "c": pathlib.PurePosixPath("/a"),
        "d": {1, 2},
        "e": (complex(1, 2), slice(1, 2), bytearray(b"x"), b"bytes", b""),
        "f": [torch.float32, torch.device("cpu"), torch.Size([1]), torch.__version__],
        "g": np.array(["a", "b"]),
        "h": {(1, "x"): frozenset([1]), 2.5: None},
        "i": torch.nn.Parameter(torch.ones(2)),
        "j": torch.sparse_coo_tensor([[0]], [1.0], (2,)),
        "k": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "l": io.BytesIO(b"x"),
    }
    assert inspect(state(tmp_path / "x.pth", torch.ones(2), extras=extras)).finite


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_that_torch_can_write_is_read(
    tmp_path: Path, mmcv_style: Make, protocol: int
) -> None:
    path = tmp_path / "x.pth"
    torch.save(mmcv_style(), path, pickle_protocol=protocol)
    assert (inspect(path).epoch, inspect(path).tensors) == (2, 7)


def test_tied_weights_count_twice_and_an_expanded_view_counts_its_elements(tmp_path: Path) -> None:
    one = torch.ones(4)
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {"a": one, "b": one, "c": one[:1].expand(10), "empty": torch.empty(0)}}, path)
    assert (inspect(path).tensors, inspect(path).parameters) == (4, 18)


# ---------------------------------------------------------------------- finite


FLOATS = [torch.float16, torch.float32, torch.float64, torch.bfloat16, torch.complex64, torch.complex128]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_one_bad_value_in_any_floating_type_is_found_and_named(
    tmp_path: Path, dtype: Any, bad: float
) -> None:
    values = torch.ones(1000, dtype=dtype)
    assert inspect(state(tmp_path / "good.pth", values)).finite
    values[-1] = bad
    facts = inspect(state(tmp_path / "bad.pth", values))
    assert not facts.finite
    assert facts.first_non_finite == "w"


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz], ids=str
)
def test_a_nan_in_an_eight_bit_float_is_found(tmp_path: Path, dtype: Any) -> None:
    values = torch.linspace(-8, 8, 100).to(dtype)
    assert inspect(state(tmp_path / "good.pth", values)).finite
    values[3] = torch.tensor(float("nan")).to(dtype)
    assert not inspect(state(tmp_path / "bad.pth", values)).finite


def test_every_bit_pattern_of_the_half_types_is_judged_as_torch_judges_it(tmp_path: Path) -> None:
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        values = patterns.view(dtype)
        assert inspect(state(tmp_path / "good.pth", values[torch.isfinite(values)])).finite
        bad = values[~torch.isfinite(values)]
        for index in (0, len(bad) // 2, len(bad) - 1):
            assert not inspect(state(tmp_path / "bad.pth", bad[index].clone())).finite


def test_integers_are_never_judged(tmp_path: Path) -> None:
    assert inspect(state(tmp_path / "x.pth", torch.full((4,), -1, dtype=torch.int64))).finite


def test_a_bad_value_in_the_unused_rest_of_a_storage_does_not_count(tmp_path: Path) -> None:
    whole = torch.ones(10, 10)
    whole[0] = whole[9] = float("nan")
    assert inspect(state(tmp_path / "rest.pth", whole[1:9])).finite
    assert not inspect(state(tmp_path / "last.pth", whole[1:])).finite
    assert not inspect(state(tmp_path / "hit.pth", whole.t()[0:1])).finite


def test_the_first_bad_weight_is_named_in_the_order_of_the_weights(tmp_path: Path) -> None:
    bad = torch.tensor([float("nan")])
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {"a": torch.ones(1), "neck.b": bad, "c": bad.clone()}}, path)
    assert inspect(path).first_non_finite == "neck.b"


def test_a_bad_value_far_into_a_storage_of_many_chunks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainrelay.checkpoint.archive.CHUNK_BYTES", 64)
    values = torch.ones(101)
    values[100] = float("inf")
    shared = {"head": values[:100], "tail": values[100:]}
    path = tmp_path / "x.pth"
    torch.save({"state_dict": shared}, path)
    assert inspect(path).first_non_finite == "tail"


def test_a_bad_optimizer_state_is_told_apart_from_bad_weights(saved: Path, mmcv_style: Make) -> None:
    whole = mmcv_style()
    whole["optimizer"]["state"][1]["exp_avg_sq"][0] = float("inf")
    torch.save(whole, saved)
    whole = examine(saved)
    assert whole.facts.finite
    assert whole.first_non_finite_state == "state.1.exp_avg_sq"


# ---------------------------------------------------------------------- broken ones


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        inspect(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


def test_each_kind_of_wrong_file_is_told_in_its_own_words(
    tmp_path: Path, saved: Path, mmcv_style: Make
) -> None:
    def other(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return refusal(path)

    torch.save(mmcv_style(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "folder.pth").mkdir()
    messages = [
        refusal(tmp_path / "missing.pth"),
        refusal(tmp_path / "folder.pth"),
        refusal(tmp_path / "old.pth"),
        other("empty.pth", b""),
        other("cut.pth", saved.read_bytes()[:-1]),
        other("pickle.pth", pickle.dumps({"state_dict": {}})),
        other("text.pth", b"<html>Not found</html>"),
    ]
    told = [
        "does not exist",
        "folder.pth is empty",
        "before 1.6",
        "empty.pth is empty",
        "is cut short",
        "plain pickle",
        "no zip",
    ]
    for message, words in zip(messages, told, strict=True):
        assert words in message, message
    assert len(set(messages)) == len(messages)


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    assert "not a regular file" in refusal(tmp_path / "pipe.pth")


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    for number, value in enumerate([[1, 2], {"meta": {}}, {"state_dict": {}}, torch.ones(2), "text"]):
        path = tmp_path / f"{number}.pth"
        torch.save(value, path)
        assert "weights" in refusal(path)


def test_any_truncation_is_refused(saved: Path, tmp_path: Path) -> None:
    data = saved.read_bytes()
    cut = tmp_path / "cut.pth"
    for length in [*range(0, 300), *range(300, len(data), 97), *range(len(data) - 200, len(data))]:
        cut.write_bytes(data[:length])
        refusal(cut)


def test_a_flipped_bit_in_any_tensor_is_refused(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        members = [info for info in archive.infolist() if "/data/" in info.filename]
    for info in members:
        head = data[info.header_offset + 26 : info.header_offset + 30]
        start = (
            info.header_offset + 30 + int.from_bytes(head[:2], "little") + int.from_bytes(head[2:], "little")
        )
        data[start] ^= 1
        saved.write_bytes(data)
        assert "damaged" in refusal(saved)
        data[start] ^= 1
    saved.write_bytes(data)
    inspect(saved)


def rezipped(
    source: Path, target: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]], **how: Any
) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **how) as new:
        for name in old.namelist():
            for changed, data in change(name, old.read(name)):
                new.writestr(changed, data)
    return target


def same(name: str, data: bytes) -> list[tuple[str, bytes]]:
    return [(name, data)]


def test_archives_that_torch_would_read_differently_than_we_do_are_refused(
    saved: Path, tmp_path: Path
) -> None:
    packed = rezipped(saved, tmp_path / "packed.pth", same, compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(packed)
    prefixed = tmp_path / "prefixed.pth"
    prefixed.write_bytes(b"PK__" + saved.read_bytes())
    assert "second directory" in refusal(prefixed)
    polyglot = tmp_path / "polyglot.pth"
    polyglot.write_bytes(pickle.dumps({}) + saved.read_bytes())
    assert "plain pickle" in refusal(polyglot)
    with zipfile.ZipFile(shutil.copy(saved, tmp_path / "comment.pth"), "a") as archive:
        archive.comment = b"PK"
    assert "zip comment" in refusal(tmp_path / "comment.pth")
    program = rezipped(
        saved,
        tmp_path / "jit.pth",
        lambda n, d: [(n, d), (n.replace("data.pkl", "constants.pkl"), d)][
            : 2 if n.endswith("data.pkl") else 1
        ],
    )
    assert "TorchScript" in refusal(program)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = rezipped(
            saved, tmp_path / "twice.pth", lambda n, d: [(n, d)] * (2 if n.endswith("data.pkl") else 1)
        )
    assert "two members of one name" in refusal(twice)


def test_a_storage_that_is_missing_or_not_of_its_declared_size_is_refused(
    saved: Path, tmp_path: Path
) -> None:
    missing = rezipped(saved, tmp_path / "m.pth", lambda n, d: [] if n.endswith("/data/0") else [(n, d)])
    assert "lacks the tensor data 0" in refusal(missing)
    short = rezipped(saved, tmp_path / "s.pth", lambda n, d: [(n, d[:-4] if n.endswith("/data/0") else d)])
    assert "is not its size" in refusal(short)


def test_a_file_that_changes_while_it_is_read_is_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sources.Archive

    def meddling(file: Any, size: int) -> Any:
        archive = real(file, size)
        os.utime(saved, ns=(1, 1))
        return archive

    monkeypatch.setattr(sources, "Archive", meddling)
    assert "changed while it was read" in refusal(saved)


def test_control_characters_in_names_never_reach_the_terminal(tmp_path: Path, saved: Path) -> None:
    path = tmp_path / "a\x1b[31m\nb.pth"
    path.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError) as caught:
        inspect(path)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    torch.save({"state_dict": {"\x1b]0;x\x07": torch.tensor([float("nan")])}}, saved)
    assert "\x1b" not in str(inspect(saved).first_non_finite)


def test_a_checkpoint_behind_a_symbolic_link_is_read(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "latest.pth").symlink_to(saved.name)
    assert inspect(tmp_path / "latest.pth").epoch == 2


@pytest.mark.process
def test_reading_needs_no_torch(saved: Path) -> None:
    """In a fresh interpreter in which importing torch is an error."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from trainrelay.checkpoint import inspect\n"
        "print(inspect(Path(sys.argv[1])).epoch)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "2\n"


def test_a_meta_of_the_trainers_own_is_no_count(tmp_path: Path) -> None:
    optimizer = {"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": []}
    whole = {"model": {"w": torch.ones(1)}, "optimizer": optimizer, "epoch": 2, "meta": {"git": "abc"}}
    torch.save(whole, tmp_path / "x.pth")
    assert inspect(tmp_path / "x.pth", 1).epoch == 3


def test_weights_are_known_by_what_they_are(tmp_path: Path, trained: tuple[Any, Any]) -> None:
    """As DINO and I-JEPA save them: every model is judged, the first one counted; metrics are no weights."""
    model, optimizer = trained
    path, state = tmp_path / "checkpoint.pth", model.state_dict()
    bad = {**state, "1.bias": torch.full((3,), float("nan"))}
    metrics = {"iou": torch.tensor([0.5, float("nan")]), "rng": torch.get_rng_state()}
    for one, other, steps in [("student", "teacher", "optimizer"), ("encoder", "target_encoder", "opt")]:
        parts = {one: state, steps: optimizer.state_dict(), "epoch": 3, "best": metrics}
        torch.save({**parts, other: state, "dino_loss": {"center": torch.zeros(1, 4)}}, path)
        whole = examine(path, 1)
        assert (whole.missing, whole.facts.epoch, whole.facts.tensors) == ((), 4, len(state))
        assert whole.facts.finite
        torch.save({**parts, other: bad}, path)
        assert inspect(path).first_non_finite == f"{other}.1.bias"
        torch.save({**parts, one: bad}, path)
        assert inspect(path).first_non_finite == "1.bias"


def test_each_of_several_optimizers_is_looked_at(tmp_path: Path, trained: tuple[Any, Any]) -> None:
    model, optimizer = trained
    steps = {f"optim_{name}": optimizer.state_dict() for name in "GD"}
    torch.save({"netG": model.state_dict(), "epoch": 1, **steps}, tmp_path / "x.pth")
    assert not examine(tmp_path / "x.pth").missing
    steps["optim_D"]["state"] = {0: {"exp_avg": torch.tensor(float("inf"))}}
    torch.save({"netG": model.state_dict(), "epoch": 1, **steps}, tmp_path / "x.pth")
    assert examine(tmp_path / "x.pth").first_non_finite_state == "optim_D.state.0.exp_avg"
