"""Folders whose save was stopped, known by what their own formats say; a whole one is never refused."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from trainrelay.checkpoint import SavedAs, glance, newest_valid
from trainrelay.checkpoint.whole import lacking

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
CUT = "is cut short: whatever wrote it was stopped while it was saving"
BY_STEP = SavedAs("iteration", 10)


def of_script(folder: Path) -> Path:
    """Weights and an optimizer, as a script saves them by itself."""
    folder.mkdir(parents=True)
    net = torch.nn.Linear(2, 2)
    torch.save(net.state_dict(), folder / "model.pt")
    torch.save(torch.optim.SGD(net.parameters(), 1.0).state_dict(), folder / "optimizer.pt")
    return folder


class Odd:
    """A class of the script's."""


@pytest.fixture
def distributed(tmp_path: Path) -> Path:
    """Beside its weights the parts of torch.distributed.checkpoint, in a folder below."""
    folder = of_script(tmp_path / "checkpoint-10")
    states = {"model": torch.nn.Linear(3, 2).state_dict(), "step": 10}
    dcp.save(states, storage_writer=FileSystemWriter(folder / "parts"), no_dist=True)
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def of_a_newer_torch(path: Path) -> None:
    path.write_bytes(pickle.dumps({"x": Odd()}))


@pytest.mark.parametrize(
    ("file", "change", "why", "at_a_glance"),
    [
        ("__0_0.distcp", Path.exists, None, True),
        (".metadata", of_a_newer_torch, None, True),
        (".metadata", Path.unlink, f"lacks parts/.metadata and {CUT}", True),
        (".metadata", cut, f"holds .metadata, which {CUT}", True),
        ("__0_0.distcp", cut, f"holds parts/__0_0.distcp, which {CUT}", False),
        (
            "__0_0.distcp",
            lambda one: one.rename(f"{one}.distcp"),
            f"lacks parts/__0_0.distcp and {CUT}",
            False,
        ),
    ],
)
def test_parts_of_torch_are_whole_once_their_metadata_is_there_and_they_reach_as_far_as_it_says(
    distributed: Path, file: str, change: Callable[[Path], object], why: str | None, at_a_glance: bool
) -> None:
    change(distributed / "parts" / file)
    seen = glance(distributed, BY_STEP)
    assert (seen.problem, seen.number) == ((why, None) if why and at_a_glance else (None, 10))
    facts, skipped = newest_valid([(10, distributed)], saved_as=lambda _: BY_STEP)
    assert bool(facts) is (why is None)
    assert all(why and why in sentence for sentence in skipped)


def test_of_a_shard_that_each_rank_saves_its_own_piece_of_a_rank_may_have_none(tmp_path: Path) -> None:
    """As torch's HuggingFaceStorageWriter saves (save_distributed)."""
    folder = of_script(tmp_path / "checkpoint-10")
    for rank, part in ((1, 1), (1, 2), (2, 2)):
        name = f"shard-0000{rank}-model-0000{part}-of-00002.pt"
        torch.save({f"{rank}.{part}": torch.ones(1)}, folder / name)
    assert glance(folder, BY_STEP).problem is None
    (folder / "shard-00001-model-00001-of-00002.pt").unlink()
    assert glance(folder, BY_STEP).problem == f"holds 1 of 2 parts of model.pt and {CUT}"


def of_module(patched: pytest.MonkeyPatch, module: str, name: str, base: Any, *members: Any) -> Any:
    """A class that is pickled as another package's."""
    made = base(name, *members) if members else type(name, (base,), {})
    made.__module__ = module
    for imported in (module.partition(".")[0], module):
        patched.setitem(sys.modules, imported, SimpleNamespace(**{name: made}))
    return made


@pytest.mark.parametrize(
    ("partitions", "config", "why"),
    [
        ([1, 2], {}, f"lacks global_step10/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt and {CUT}"),
        (2, {}, f"lacks global_step10/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt and {CUT}"),
        (3, {}, f"lacks global_step10/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt and {CUT}"),
        ([1], {}, None),
        ([], {}, None),
        ([2], {"checkpoint": {"use_node_local_storage": True}}, None),
        (None, {}, None),
    ],
)
def test_a_file_of_zero_tells_those_of_the_other_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitions: Any, config: Any, why: str | None
) -> None:
    """DeepSpeed itself asks for as many. The first folder can be held against no other."""
    scaler = of_module(monkeypatch, "deepspeed.runtime.fp16.loss_scaler", "LossScaler", object)()
    stage = of_module(monkeypatch, "deepspeed.runtime.zero.config", "ZeroStageEnum", IntEnum, {"one": 1})(1)
    folder = of_script(tmp_path / "checkpoint-10")
    (folder / "global_step10").mkdir()
    zero = {"loss_scaler": scaler, "zero_stage": stage, "partition_count": partitions}
    state = {"optimizer_state_dict": zero, "ds_config": config}
    torch.save(state, folder / "global_step10/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt")
    assert glance(folder, BY_STEP).problem == why


def of_ranks(folder: Path, count: int) -> Path:
    """With the states of their generators, as Hugging Face's Trainer saves them."""
    of_script(folder)
    for rank in range(count):
        torch.save({"cpu": torch.get_rng_state()}, folder / f"rng_state_{rank}.pth")
    return folder


@pytest.mark.parametrize(
    ("saved", "ranks", "lost"), [(4, 4, None), (3, 4, "rng_state_3.pth"), (3, None, None), (3, 3, None)]
)
def test_a_file_of_a_rank_is_missed_only_where_as_many_ranks_saved_both(
    tmp_path: Path, saved: int, ranks: int | None, lost: str | None
) -> None:
    """A training may continue on fewer GPUs."""
    first, newest = of_ranks(tmp_path / "checkpoint-5", 4), of_ranks(tmp_path / "checkpoint-10", saved)
    assert lacking(newest, first, ranks) == lost
    as_saved = {first: SavedAs("iteration", 5, ranks=ranks), newest: SavedAs("iteration", 10, ranks=ranks)}
    facts, skipped = newest_valid([(10, newest), (5, first)], saved_as=as_saved.__getitem__)
    assert facts
    assert (facts.iteration, len(skipped)) == ((5, 1) if lost else (10, 0))


def test_what_is_saved_last_in_the_oldest_folder_is_missed_in_the_newest(tmp_path: Path) -> None:
    first, newest = of_script(tmp_path / "checkpoint-5"), of_script(tmp_path / "checkpoint-10")
    for folder in (first, newest):
        (folder / "latest").write_text("global_step")
        (folder / "notes.txt").touch()
    (newest / "notes.txt").unlink()
    assert lacking(newest, first, None) is None
    (newest / "latest").unlink()
    assert lacking(newest, first, None) == "latest"


@pytest.mark.parametrize(
    ("once", "seen_in", "lost"),
    [("best.pt", (5,), None), ("noise.pt", (5,), None), ("ema.pt", (5, 10), "ema.pt")],
)
def test_what_not_each_folder_has_is_not_missed_in_the_newest(
    tmp_path: Path, once: str, seen_in: tuple[int, ...], lost: str | None
) -> None:
    """The first epoch is the best one so far; or a script saves something once. The newest has an object a
    line in JSON, too."""
    folders = {count: of_script(tmp_path / f"checkpoint-{count}") for count in (5, 10, 15)}
    for count in seen_in:
        torch.save({}, folders[count] / once)
    (folders[15] / "scores.json").write_text('{"a": 1}\n{"a": 2}\n')
    found = [(count, folders[count]) for count in (15, 10, 5)]
    facts, skipped = newest_valid(found, saved_as=lambda path: SavedAs("iteration", int(path.name[11:])))
    assert facts
    assert (facts.iteration, lacking(folders[15], folders[5], None)) == (10 if lost else 15, lost)
    assert len(skipped) == bool(lost)


def test_a_folder_that_is_called_otherwise_need_not_have_the_same_files(tmp_path: Path) -> None:
    first, best = of_script(tmp_path / "checkpoint-5"), of_script(tmp_path / "best")
    (best / "optimizer.pt").unlink()
    assert lacking(best, first, None) is None
