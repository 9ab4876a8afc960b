"""Folders and classes with which an attacker, a kill or an unlucky training could get past the checks."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainrelay.checkpoint import glance, how_to_allow, inspect, machine, promote, sources
from trainrelay.checkpoint.inspection import examine
from trainrelay.checkpoint.sources import SavedAs
from trainrelay.errors import CheckpointError, UserError
from trainrelay.system import files
from trainrelay.system.files import files_below, sha256_of
from trainrelay.trainers import TRAINERS, ScriptSettings, misplaced_checkpoints

FLOATS = np.full((2, 2), 1.0, "<f4")


def folder_of(path: Path, **state: Any) -> Path:
    """The least that a training can resume from, without a library that reads it."""
    path.mkdir()
    head = {"layer.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    table = json.dumps(head).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(table)) + table + FLOATS.tobytes())
    torch.save({"state": {0: {"exp_avg": torch.ones(2, 2)}}, "param_groups": [{}]}, path / "optimizer.pt")
    (path / "trainer_state.json").write_text(json.dumps({"epoch": 2.0, "global_step": 10, **state}))
    return path


def test_a_file_of_a_folder_that_holds_a_whole_number_alone_counts_under_its_name(tmp_path: Path) -> None:
    """As SpeechBrain's counter.ckpt."""
    folder = folder_of(tmp_path / "c", epoch=None)
    counter = folder / "counter.ckpt"
    for text, number in ((b"5", 5), (b"12\n", 12), (b"5.5", None), (b"5 6", None), (b"9" * 30, None)):
        counter.write_bytes(text)
        assert glance(folder, SavedAs(key="counter")).number == number, text


class Payload:
    """Runs when it is loaded."""

    def __reduce__(self) -> Any:
        return os.getpid, ()


def test_a_loss_or_gradient_that_was_no_number_is_no_damage(tmp_path: Path) -> None:
    """Python's JSON has NaN and Infinity: the first steps of a half precision training log them."""
    history = [{"grad_norm": float("nan")}, {"grad_norm": float("inf")}]
    facts = inspect(folder_of(tmp_path / "c", log_history=history, best_metric=float("nan")))
    assert (facts.epoch, facts.finite) == (2, True)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a": ' + "9" * 10_000 + "}", "\udcff", "{"])
def test_json_that_python_does_not_take_is_named(tmp_path: Path, text: str) -> None:
    folder = folder_of(tmp_path / "c")
    (folder / "more.json").write_text(text, errors="surrogateescape")
    with pytest.raises(CheckpointError, match=r"holds more\.json, which is no JSON"):
        inspect(folder)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_plain_pickle_is_refused_as_torch_runs_it_too(tmp_path: Path, protocol: int) -> None:
    folder = folder_of(tmp_path / "c")
    (folder / "scheduler.pt").write_bytes(pickle.dumps(Payload(), protocol))
    with pytest.raises(CheckpointError, match=r"unsafe: it wants to call posix\.getpid \(scheduler\.pt\)"):
        inspect(folder)


@pytest.mark.parametrize(
    "begin",
    [
        b"N.",  # another pickle before it
        b"N0" * 2_000_000,
        b"S'" + b"a" * 5000 + b"'\n0",
        b"Np7\n0",  # stored out of order
        b"(I1\nios\ngetpid\n0",
    ],
)
def test_nothing_before_a_call_hides_it(tmp_path: Path, begin: bytes) -> None:
    folder = folder_of(tmp_path / "c")
    (folder / "scheduler.pt").write_bytes(begin + b"cos\ngetpid\n(tR.")
    with pytest.raises(CheckpointError, match=r"scheduler\.pt"):
        inspect(folder)


def test_a_file_of_old_torch_in_a_folder_is_refused_as_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "c")
    torch.save({"a": 1}, folder / "scheduler.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"holds scheduler\.pt, which is in the format of torch before"):
        inspect(folder)


def test_plain_data_and_what_is_no_pickle_stay(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "c")
    (folder / "sampler.pkl").write_bytes(pickle.dumps({"a": [1, 2]}))
    (folder / "data.bin").write_bytes(np.arange(2000, dtype="<f4").tobytes())
    (folder / "text.bin").write_bytes(b"Some words of a vocabulary\n" * 300)
    assert inspect(folder).finite


def called(module: str, name: str, call: bytes = b"\x85R.") -> bytes:
    """A pickle of protocol 4, of which Python follows dotted names."""
    texts = [b"\x8c" + bytes([len(one)]) + one.encode() for one in (module, name)]
    return b"\x80\x04" + b"".join(texts) + b"\x93" + b"\x8c\x01a" + call


@pytest.mark.parametrize("name", ["os.system", "system"])
def test_all_classes_of_a_package_are_not_what_it_imports(name: str) -> None:
    """my.utils may import os, or system from it."""
    with pytest.raises(machine.UnsafeFile) as refused:
        machine.unpickle(io.BytesIO(called("my.utils", name)), lambda _: None, ("my.*",))
    assert refused.value.classes == (f"my.utils.{name}()",)


def test_an_object_of_a_package_is_made_and_a_class_by_its_name_called() -> None:
    made = called("my.utils", "Config", b"0)\x81.")
    assert machine.unpickle(io.BytesIO(made), lambda _: None, ("my.*",)) is not None
    enum = io.BytesIO(called("my.utils", "Kind"))
    assert machine.unpickle(enum, lambda _: None, ("my.*", "my.utils.Kind")) is not None


def test_a_refusal_names_the_classes_and_no_more_than_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    many = b"".join(b"c%s\nC\n0" % f"my{n}".encode() for n in range(5000))
    torch.save({"a": 1}, path)
    folder = folder_of(tmp_path / "c")
    (folder / "scheduler.pt").write_bytes(many + b"cmy\nB\n(tR.")
    assert len(glance(folder).problem or "") < 2000
    assert len(how_to_allow(glance(folder).classes) or "") < 2000
    (folder / "scheduler.pt").write_bytes(b"cmy.kinds\nKind\n(I1\ntR.")
    assert how_to_allow([*glance(folder).classes, "my.nets.a.Net"]) == (
        "if that is your own (kind script), allow it in config.yaml, below `script`:"
        " classes: [my.kinds.Kind, my.nets.*]"
    )


@pytest.mark.parametrize("numbers", [4, 4000])
def test_arrays_of_numpy_in_a_folder_are_looked_at(tmp_path: Path, numbers: int) -> None:
    folder = folder_of(tmp_path / "c")
    (folder / "model.safetensors").unlink()
    bad = np.full((numbers, 2), np.nan, "f4")
    torch.save({"layer.weight": bad, "layer.bias": torch.ones(1)}, folder / "model.bin")
    facts = inspect(folder)
    assert (facts.finite, facts.first_non_finite) == (False, "layer.weight")


def test_a_folder_whose_file_was_written_over_is_read_again(tmp_path: Path) -> None:
    """In its place and of the same size, as by open(.., "w"): the folder itself stays as it was."""
    folder = folder_of(tmp_path / "last")
    before, stamp = glance(folder), sources.stamp_of(folder)
    state = folder / "trainer_state.json"
    later_ns = state.stat().st_mtime_ns + 10**9
    state.write_text(state.read_text().replace("2.0", "3.0"))
    os.utime(state, ns=(later_ns, later_ns))
    assert (before.number, glance(folder).number) == (2, 3)
    assert sources.stamp_of(folder) != stamp


def test_many_files_together_hold_no_more_than_one_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "c")
    for number in range(3):
        torch.save(list(map(str, range(10_000))), folder / f"more{number}.pt")
    assert inspect(folder).finite
    monkeypatch.setattr(sources, "_MOST_BYTES", 4_000_000)
    with pytest.raises(CheckpointError, match=r"holds more\d\.pt, which holds, with those before it, more"):
        inspect(folder)


def test_a_training_that_goes_on_with_other_ranks_lacks_nothing(tmp_path: Path) -> None:
    """One rank saves rng_state.pth, several rng_state_0.pth and so on."""
    first, later = folder_of(tmp_path / "checkpoint-10"), folder_of(tmp_path / "checkpoint-20")
    torch.save({}, first / "rng_state_0.pth")
    torch.save({}, later / "rng_state.pth")
    assert examine(later, first=first).missing == ()
    (later / "rng_state.pth").unlink()
    with pytest.raises(CheckpointError, match=r"lacks rng_state_0\.pth"):
        examine(later, first=first)


def test_a_folder_within_that_cannot_be_listed_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "c")
    (folder / "global_step1").mkdir()
    (folder / "global_step1/a.pt").touch()
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("global_step1"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match=r"cannot list .*global_step1: Permission denied"):
        files_below(folder)


def test_folders_without_end_are_not_listed_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MOST_FILES", 10)
    for number in range(11):
        (tmp_path / f"{number}/empty").mkdir(parents=True)
    with pytest.raises(UserError, match="holds more files than any checkpoint does"):
        files_below(tmp_path)


def test_a_kill_while_the_one_before_is_removed_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, target = [folder_of(tmp_path / f"c{n}", a=n) for n in range(3)], tmp_path / "best"
    owned = [sha256_of(one).sha256 for one in ours]
    for one, digest in list(zip(ours, owned, strict=True))[:2]:
        promote(one, target, expected_sha256=digest, overwrite=False, owned=owned)

    def killed(folder: Path, **_: Any) -> None:
        (folder / "optimizer.pt").unlink()
        raise KeyboardInterrupt

    rmtree = files.shutil.rmtree
    monkeypatch.setattr(files.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        promote(ours[2], target, expected_sha256=owned[2], overwrite=False, owned=owned)
    monkeypatch.setattr(files.shutil, "rmtree", rmtree)
    promote(ours[2], target, expected_sha256=owned[2], overwrite=False, owned=owned)
    assert sha256_of(target).sha256 == owned[2]
    assert not (tmp_path / "best.previous-2").exists()
    assert not list(tmp_path.glob(".trainrelay-removed-*"))


def test_files_of_a_training_that_is_to_save_folders_now_are_named(tmp_path: Path) -> None:
    state = {"layer.weight": torch.ones(2, 2)}
    torch.save({"model": state, "optimizer": {"param_groups": [{}]}, "epoch": 1}, tmp_path / "c-1.pt")
    script = ScriptSettings(command="{launcher} {entry}", checkpoints="c-{epoch}/")
    saved = TRAINERS["script"].of(script, "t.py").saved(tmp_path)
    why = "is not where checkpoints are asked for"
    assert misplaced_checkpoints(tmp_path, saved, 0.0) == [(tmp_path / "c-1.pt", why)]


def test_a_folder_above_is_no_checkpoint() -> None:
    with pytest.raises(ValueError, match="is a name in the work dir"):
        ScriptSettings(command="{launcher} {entry}", checkpoints="../")


def test_scales_of_eight_bits_are_a_type_too(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "c")
    table = b'{"a.weight": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}'
    for data, finite in ((b"\x7f\x80", True), (b"\x7f\xff", False)):
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(table)) + table + data)
        assert inspect(folder).finite is finite


def shard(path: Path, value: float = 1.0) -> None:
    """One tensor, as safetensors writes it."""
    path.parent.mkdir(exist_ok=True)
    table = b'{"layer.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}'
    path.write_bytes(struct.pack("<Q", len(table)) + table + np.full((2, 2), value, "<f4").tobytes())


def test_weights_in_a_folder_are_not_hidden_by_those_of_another_with_their_names(tmp_path: Path) -> None:
    """As unet/ and unet_ema/ of diffusers."""
    folder = folder_of(tmp_path / "c")
    for name, value in (("unet", np.nan), ("unet_ema", 1.0)):
        shard(folder / name / "diffusion_pytorch_model.safetensors", value)
    assert inspect(folder).finite is False
    state = {"model": {"layer.weight": torch.ones(2, 2)}, "optimizer": {"param_groups": [{}]}}
    bad = {"model": {"layer.weight": torch.full((2, 2), torch.nan)}}
    several = tmp_path / "several"
    for name, saved in (("a", state), ("b", bad), ("c", state)):
        (several / name).mkdir(parents=True)
        torch.save(saved, several / name / "state.pt")
    assert inspect(several).finite is False


def test_a_part_of_the_weights_that_is_not_there_is_missed(tmp_path: Path) -> None:
    """A kill between two of them, in a first save: no other checkpoint shows what belongs to one."""
    folder = folder_of(tmp_path / "c")
    (folder / "model.safetensors").unlink()
    shard(folder / "model-00001-of-00003.safetensors")
    with pytest.raises(CheckpointError, match=r"holds 1 of 3 parts of model.safetensors and is cut short"):
        inspect(folder)
    assert glance(folder).cut_short


@pytest.mark.parametrize(
    ("step", "epoch", "finished"),
    [
        (12, 0.96, 1),
        (25, 2.0, 2),
        (11, 0.88, 0),
        (300, 24.0, 24),
        (35, 2.8, 2),
        (36, 2.88, 2),
        (1200, 96.0, 100),
    ],
)
def test_an_epoch_whose_last_batches_make_no_step_is_finished(
    tmp_path: Path, step: int, epoch: float, finished: int
) -> None:
    """50 batches in steps of 4, as transformers before 4.46 counts them."""
    all_ = {"max_steps": 1200, "num_train_epochs": 100}
    facts = inspect(folder_of(tmp_path / "c", epoch=epoch, global_step=step, **all_))
    assert facts.epoch == finished


def test_what_counts_beside_the_states_of_generators_is_no_iteration(tmp_path: Path) -> None:
    """accelerate's step is of the batches that it accumulates."""
    folder = folder_of(tmp_path / "c")
    (folder / "trainer_state.json").unlink()
    torch.save({"step": 3, "torch_manual_seed": torch.get_rng_state()}, folder / "random_states_0.pkl")
    assert glance(folder, sources.SavedAs("iteration")).number is None


def test_what_was_promoted_stays_promoted_once_its_source_is_gone(tmp_path: Path) -> None:
    source, target = folder_of(tmp_path / "c"), tmp_path / "best"
    digest = sha256_of(source).sha256
    for _ in range(2):
        done = promote(source, target, expected_sha256=digest, overwrite=False, owned=(digest,))
        assert done.sha256 == digest
        shutil.rmtree(source, ignore_errors=True)


def test_a_folder_that_is_written_over_in_its_place_is_as_new_as_its_files(tmp_path: Path) -> None:
    """Its copies too: by that time an attempt's record knows it."""
    folder = folder_of(tmp_path / "last")
    os.utime(folder, (1, 1))
    newest_ns = max(path.stat().st_mtime_ns for path in folder.iterdir())
    files.copy_durably(folder, tmp_path / "copy")
    os.utime(tmp_path / "copy", (1, 1))
    assert {sources.stamp_of(one)[2] for one in (folder, tmp_path / "copy")} == {newest_ns}


def test_constants_are_compared_with_the_first_one_also_where_both_hold_objects(tmp_path: Path) -> None:
    state = {0: {"exp_avg": torch.ones(3)}, 1: {"exp_avg": torch.ones(2, 2)}}
    for epoch in (1, 2):
        model = {"bound": torch.tensor([1.0, torch.inf, epoch]), "layer.weight": torch.ones(2, 2)}
        optimizer = {"state": state, "param_groups": [{"params": [0, 1]}]}
        saved = {"model": model, "optimizer": optimizer, "epoch": epoch, "settings": Settings()}
        torch.save(saved, tmp_path / f"{epoch}.pt")
    saved_as = sources.SavedAs(classes=(f"{__name__}.Settings",))
    assert inspect(tmp_path / "2.pt", first=tmp_path / "1.pt", saved=saved_as).constant_infinity == "bound"


class Settings:
    """A class of the trainer's."""
