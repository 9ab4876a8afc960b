"""Checkpoints that are folders, as Hugging Face's Trainer, accelerate and DeepSpeed save them."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from trainrelay.checkpoint import SavedAs, glance, inspect, newest_valid, promote
from trainrelay.checkpoint.inspection import examine
from trainrelay.errors import CheckpointError, Refusal, UserError
from trainrelay.system.files import remove_whole, sha256_of
from trainrelay.trainers import TRAINERS, ScriptSettings

BY_STEP = SavedAs("iteration")
COMMAND = "{launcher} {entry} --max_steps {iters} --output_dir {work_dir}"


def safetensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """As the library writes it."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, one in tensors.items():
        raw = one.contiguous().view(torch.uint8).numpy().tobytes()
        kind = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}[one.dtype]
        offsets = [len(data), len(data) + len(raw)]
        table[name] = {"dtype": kind, "shape": list(one.shape), "data_offsets": offsets}
        data += raw
    head = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def adam(model: torch.nn.Module) -> dict[str, Any]:
    """The state after one step."""
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def of_trainer(work_dir: Path, step: int, per_epoch: int = 10, epochs: int = 3) -> Path:
    """What transformers' Trainer saves."""
    model, folder = torch.nn.Linear(3, 2), work_dir / f"checkpoint-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    safetensors(folder / "model.safetensors", dict(model.state_dict()))
    torch.save(adam(model), folder / "optimizer.pt")
    torch.save({"last_epoch": step, "lr_lambdas": [None]}, folder / "scheduler.pt")
    torch.save({"cpu": torch.get_rng_state()}, folder / "rng_state.pth")
    torch.save(Settings(), folder / "training_args.bin")
    state = {"epoch": step / per_epoch, "global_step": step, "num_train_epochs": epochs}
    state |= {"max_steps": epochs * per_epoch, "log_history": [{"loss": 1.0}]}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    (folder / "config.json").write_text("{}")
    return folder


class Settings:
    """A class of the trainer's."""


@pytest.mark.parametrize(("step", "epoch"), [(10, 1), (15, 1), (20, 2), (30, 3)])
def test_a_folder_of_the_trainer_counts_steps_and_finished_epochs(
    tmp_path: Path, step: int, epoch: int
) -> None:
    folder = of_trainer(tmp_path, step)
    facts = inspect(folder, saved=BY_STEP)
    assert (facts.iteration, facts.tensors, facts.parameters, facts.finite) == (step, 2, 8, True)
    assert inspect(folder).epoch == epoch
    assert examine(folder).missing == ()
    assert facts.file.size == sum(path.stat().st_size for path in folder.iterdir())


def test_the_last_step_ends_the_last_epoch_also_where_rounding_leaves_less(tmp_path: Path) -> None:
    folder = of_trainer(tmp_path, 30)
    state = json.loads((folder / "trainer_state.json").read_text())
    (folder / "trainer_state.json").write_text(json.dumps({**state, "epoch": 2.96}))
    assert inspect(folder).epoch == 3


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("optimizer.pt", "lacks optimizer.pt, which checkpoint-10 has"),
        ("rng_state.pth", "lacks rng_state.pth, which checkpoint-10 has"),
        ("trainer_state.json", "lacks trainer_state.json"),
    ],
)
def test_a_folder_whose_save_did_not_end_is_passed_over(tmp_path: Path, file: str, why: str) -> None:
    """The first of a training shows which files the others have."""
    older, newer = of_trainer(tmp_path, 10), of_trainer(tmp_path, 20)
    (newer / file).unlink()
    facts, skipped = newest_valid([(20, newer), (10, older)], saved_as=lambda _: BY_STEP)
    assert facts
    assert (facts.iteration, len(skipped)) == (10, 1)
    assert why in skipped[0]


def test_the_first_folder_of_the_trainer_is_cut_short_until_it_has_what_is_saved_last(tmp_path: Path) -> None:
    """There is no other one to compare it with, and the Trainer resumes from none without it."""
    folder = of_trainer(tmp_path, 10)
    named = SavedAs("iteration", 10)
    assert not glance(folder, named).cut_short
    (folder / "trainer_state.json").unlink()
    seen = glance(folder, named)
    assert (seen.cut_short, seen.problem and seen.problem[:31]) == (True, "lacks trainer_state.json and is")
    (folder / "training_args.bin").unlink()  # of another trainer
    assert glance(folder, named).problem is None


def test_what_only_the_first_folder_has_beside_its_states_is_not_asked_of_the_others(tmp_path: Path) -> None:
    older, newer = of_trainer(tmp_path, 10), of_trainer(tmp_path, 20)
    (older / "README.md").write_text("once")
    facts, skipped = newest_valid([(20, newer), (10, older)], saved_as=lambda _: BY_STEP)
    assert facts
    assert (facts.iteration, skipped) == (20, [])


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt"])
@pytest.mark.parametrize("left", [0, 60, -1])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, file: str, left: int) -> None:
    folder = of_trainer(tmp_path, 10)
    (folder / file).write_bytes((folder / file).read_bytes()[:left])
    with pytest.raises(CheckpointError, match=f"holds {file}, which is (cut short|empty)"):
        inspect(folder)
    assert glance(folder).cut_short


def test_a_file_that_is_not_finite_is_named_by_its_weight(tmp_path: Path) -> None:
    folder = of_trainer(tmp_path, 10)
    safetensors(folder / "model.safetensors", {"a.weight": torch.tensor([[1.0, float("nan")]])})
    assert inspect(folder).first_non_finite == "a.weight"
    torch.save(
        {"state": {0: {"exp_avg": torch.tensor([float("nan")])}}, "param_groups": []}, folder / "optimizer.pt"
    )
    safetensors(folder / "model.safetensors", {"a.weight": torch.ones(2, 2, dtype=torch.bfloat16)})
    state = examine(folder).first_non_finite_state
    assert state
    assert state.endswith("exp_avg")


def test_shards_are_one_model_and_each_is_read(tmp_path: Path) -> None:
    folder = of_trainer(tmp_path, 10)
    (folder / "model.safetensors").unlink()
    for number in (1, 2, 3):
        value = float("inf") if number == 3 else 1.0
        safetensors(
            folder / f"model-0000{number}-of-00003.safetensors",
            {f"l{number}.weight": torch.full((1, 2), value)},
        )
    facts = inspect(folder)
    assert (facts.tensors, facts.first_non_finite) == (3, "l3.weight")


def test_folders_of_accelerate_and_deepspeed_are_read_by_the_number_in_their_name(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    of_accelerate = tmp_path / "epoch_1"
    of_accelerate.mkdir()
    torch.save(model.state_dict(), of_accelerate / "pytorch_model.bin")
    torch.save(adam(model), of_accelerate / "optimizer.bin")
    torch.save({"step": 5, "torch_manual_seed": torch.get_rng_state()}, of_accelerate / "random_states_0.pkl")
    facts = examine(of_accelerate, saved=SavedAs("epoch", 1))
    assert (facts.facts.epoch, facts.facts.parameters, facts.missing) == (1, 8, ())
    of_deepspeed = tmp_path / "checkpoint-7"
    (of_deepspeed / "global_step7").mkdir(parents=True)
    (of_deepspeed / "latest").write_text("global_step7")
    weights = {"module": dict(model.state_dict()), "optimizer": None, "global_steps": 7}
    torch.save(weights, of_deepspeed / "global_step7/mp_rank_00_model_states.pt")
    for rank in (0, 1):
        state = {
            "base_optimizer_state": {
                "state": {0: {"exp_avg": torch.full((4,), float(rank) / rank if rank else 1.0)}}
            }
        }
        torch.save(
            {"optimizer_state_dict": state},
            of_deepspeed / f"global_step7/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt",
        )
    found = examine(of_deepspeed, saved=BY_STEP)
    assert (found.facts.iteration, found.facts.parameters, found.missing) == (7, 8, ())


def test_what_a_folder_holds_for_nobody_is_no_danger_and_all_else_is_refused(tmp_path: Path) -> None:
    folder = of_trainer(tmp_path, 10)
    torch.save({"a": Settings()}, folder / "more.pt")
    with pytest.raises(
        CheckpointError, match=r"unsafe: it wants to call .*test_checkpoint_folders\.Settings \(more\.pt\)"
    ):
        inspect(folder)
    (folder / "more.pt").write_bytes(pickle.dumps({"a": 1}))  # no file of torch.save, and runs nothing
    assert inspect(folder).finite
    (folder / "link.pt").symlink_to(folder / "optimizer.pt")
    with pytest.raises(CheckpointError, match=r"holds the link link\.pt, which is not followed"):
        inspect(folder)


def test_a_folder_is_copied_whole_and_the_one_before_it_kept(tmp_path: Path) -> None:
    first, second, target = of_trainer(tmp_path, 10), of_trainer(tmp_path, 20), tmp_path / "best"
    digest = sha256_of(first)
    assert (
        promote(first, target, expected_sha256=digest.sha256, overwrite=False, owned=()).sha256
        == digest.sha256
    )
    owned = {digest.sha256}
    promote(second, target, expected_sha256=sha256_of(second).sha256, overwrite=False, owned=owned)
    assert inspect(target, saved=BY_STEP).iteration == 20
    assert inspect(tmp_path / "best.previous", saved=BY_STEP).iteration == 10
    (target / "optimizer.pt").write_bytes(b"")
    with pytest.raises(Refusal, match="was not written by trainrelay"):
        promote(first, target, expected_sha256=digest.sha256, overwrite=False, owned=owned)
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        Refusal, match=r"is a file; set promotion.target of this stage in config.yaml to a new folder"
    ):
        promote(first, tmp_path / "file", expected_sha256=digest.sha256, overwrite=True, owned=())
    assert not list(tmp_path.glob(".trainrelay-*"))


def test_another_file_or_another_name_is_another_content(tmp_path: Path) -> None:
    folder = of_trainer(tmp_path, 10)
    before = sha256_of(folder)
    (folder / "config.json").rename(folder / "configs.json")
    assert sha256_of(folder).sha256 != before.sha256
    (folder / "configs.json").rename(folder / "config.json")
    assert sha256_of(folder) == before


def test_what_is_removed_goes_at_once_and_what_a_kill_left_goes_with_it(tmp_path: Path) -> None:
    folder = of_trainer(tmp_path, 10)
    (tmp_path / ".trainrelay-removed-0").mkdir()
    remove_whole(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_trainer_lists_the_folders_that_its_section_names(tmp_path: Path) -> None:
    first, last = of_trainer(tmp_path, 10), of_trainer(tmp_path, 20)
    (tmp_path / "runs").mkdir()
    (tmp_path / "checkpoint-20.damaged").mkdir()
    torch.save({"model": torch.nn.Linear(1, 1).state_dict()}, tmp_path / "checkpoint-30")
    (tmp_path / "checkpoint-99").symlink_to(last)
    script = ScriptSettings(command=COMMAND, checkpoints="checkpoint-{iter}/")
    trainer = TRAINERS["script"].of(script, "t.py", 30)
    assert trainer.checkpoints(tmp_path) == [(20, last), (10, first)]
    assert trainer.unrecognised(tmp_path) == []
    assert trainer.checkpoint_path(tmp_path, 30).name == "checkpoint-30"
    assert {"checkpoint-10", "checkpoint-20"} <= set(trainer.left_behind(tmp_path))
    (last / "model.safetensors").write_bytes(b"")
    ((path, why),) = trainer.unrecognised(tmp_path)
    assert (path, why) == (last, "holds model.safetensors, which is empty")
    assert "folders checkpoint-{iter}/" in trainer.looked_for


def test_a_folder_of_parts_says_what_it_has_and_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "step_1").mkdir()
    for rank in range(3):
        (tmp_path / f"step_1/__{rank}_0.distcp").write_bytes(b"PK")
    (tmp_path / "step_1/.metadata").write_bytes(pickle.dumps({}))
    why = (
        "is a folder without a file that is read (it has .metadata and 3 more; read are .pt, .pth, .bin,"
        " .ckpt, .tar, .pkl, .safetensors and .json: save the whole weights into it, too)"
    )
    assert glance(tmp_path / "step_1", BY_STEP).problem == why


def test_the_epoch_of_trainer_state_is_one_that_is_finished(tmp_path: Path) -> None:
    seen = glance(of_trainer(tmp_path, 20))
    assert (seen.number, seen.finished) == (2, True)
    torch.save({"model": {"weight": torch.ones(1)}, "epoch": 2}, tmp_path / "epoch.pt")
    assert not glance(tmp_path / "epoch.pt").finished
    assert not glance(of_trainer(tmp_path, 20), SavedAs(named=2)).finished


def test_a_folder_that_holds_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(CheckpointError, match="checkpoint-1 is empty"):
        inspect(tmp_path / "checkpoint-1")
    (tmp_path / "checkpoint-1/notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match="is a folder without a file that is read"):
        inspect(tmp_path / "checkpoint-1")
    with pytest.raises(UserError, match="does not exist"):
        inspect(tmp_path / "checkpoint-2")


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"a.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "declares a size"),
        ({"a.weight": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "belong to no tensor"),
        ({"a.weight": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, "damaged table"),
        ({"a.weight": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "damaged table"),
        ({"a.weight": {"dtype": "F32", "shape": [2**52] * 60, "data_offsets": [0, 4]}}, "declares a size"),
        ({"a.weight": [1]}, "damaged table"),
        ([], "damaged table"),
    ],
)
def test_a_table_of_safetensors_that_lies_is_refused(tmp_path: Path, table: Any, why: str) -> None:
    folder = of_trainer(tmp_path, 10)
    head = json.dumps(table).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    with pytest.raises(CheckpointError, match=why):
        inspect(folder)
