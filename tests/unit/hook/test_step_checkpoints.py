"""What can go wrong with step checkpoints: the training runs as without them, and a note says why."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from trainrelay_hook import step_state
from trainrelay_hook.mmcv_runner import Mmcv
from unit.hook.conftest import Ranks, Stage, manifest

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("exact")]


@pytest.fixture
def stage(ranks: Ranks, tmp_path: Path) -> Stage:
    """A short training that needs no file of the one before."""
    return Stage(ranks, tmp_path, epochs=1, workers=0, evaluate=False, paced=True)


def test_the_newest_are_kept_and_describe_themselves(stage: Stage) -> None:
    """As many as asked for, and nothing beside them."""
    stage.steps["keep"] = 3
    assert stage.run() == [0, 0], stage.output()
    assert len(stage.valid()) == len(list((stage.attempt() / "steps").iterdir())) == 3
    facts = manifest(stage.valid()[0])
    assert (facts["epoch"], facts["iteration"], facts["epoch_length"]) == (1, facts["step"], 13)
    assert (facts["world_size"], facts["exact"], facts["request"]) == (2, True, None)
    assert (facts["runner"], facts["sampler"]) == ("EpochBasedRunner", "DistributedGroupSampler")
    assert sorted(facts["files"]) == ["model.pt", "rank-0.pt", "rank-1.pt"]
    assert stage.note(0) == {"format": 1, "attached": ["mmcv.runner"], "error": None, "saves": True}


@pytest.mark.parametrize(
    "name",
    [
        "rank-1.pt",
        pytest.param("model.pt", marks=pytest.mark.long),
        pytest.param("manifest.json", marks=pytest.mark.long),
    ],
)
def test_a_damaged_file_is_not_resumed_on_any_rank(stage: Stage, name: str) -> None:
    """One byte on the way: nothing is changed on any rank."""
    die = {"rank": 0, "step": 6, "place": "iteration"}
    assert stage.run(die=die) == [-9, -9], stage.output()
    newest = stage.newest()
    assert newest
    content = bytearray((newest / name).read_bytes())
    content[len(content) // 2] ^= 255
    stage.newest = lambda: newest  # type: ignore[method-assign]  # the supervisor has not seen it
    (newest / name).write_bytes(bytes(content))
    assert stage.run() == [0, 0], stage.output()
    reasons = [stage.note(rank)["not_resumed"] for rank in (0, 1)]
    if name == "rank-1.pt":
        assert reasons[0] == "another rank could not read it"
    assert name in reasons[1] or name == "manifest.json"
    assert stage.ends()[0]["steps"] == 13
    assert "resumed" not in stage.note(0)


def test_other_ranks_are_not_resumed(stage: Stage) -> None:
    """Their share of the samples is another one."""
    assert stage.run(die={"rank": 0, "step": 6, "place": "iteration"}) == [-9, -9], stage.output()
    stage.case["world"] = 1
    assert stage.run() == [0], stage.output()
    assert stage.note(0)["not_resumed"] == "ValueError: its world_size is 2, here it is 1"


def test_a_full_disk_costs_nothing_but_that_checkpoint(stage: Stage) -> None:
    """The one before stays, the training continues, and saves again once there is room."""
    stage.steps["failures_max"] = 1000
    assert stage.run(limit_bytes=2048) == [0, 0], stage.output()
    assert "save_error" not in stage.note(0)
    assert stage.ends()[0]["steps"] == 13
    assert manifest(stage.valid()[0])["step"] >= 12


def test_after_failures_in_a_row_there_is_no_further_one(stage: Stage) -> None:
    """The newest one that is valid is from before, and the reason is noted."""
    stage.steps["failures_max"] = 2
    assert stage.run(limit_bytes=2048) == [0, 0], stage.output()
    steps = [manifest(one)["step"] for one in stage.valid()]
    assert steps
    assert max(steps) <= 6
    assert "File too large" in stage.note(0)["save_error"]


def test_a_request_is_tried_after_failures_in_a_row(stage: Stage) -> None:
    """By then there may be room."""
    stage.steps["failures_max"] = 2
    stage.case["epochs"] = 2
    die = {"rank": 0, "step": 15, "place": "requested"}
    assert stage.run(limit_bytes=2048, die=die) == [-9, -9], stage.output()
    newest, *_ = map(manifest, stage.valid())
    assert newest["request"] == 1
    assert newest["step"] >= 15


def test_one_whose_first_pass_fails_is_not_taken_again(stage: Stage) -> None:
    """That pass is ours: the trainer's own hooks find its loss under another name."""
    stage.case.update(called="total", scaled=False, accumulate=1)
    die = {"rank": 0, "step": 6, "place": "iteration"}
    assert stage.run(die=die) == [-9, -9], stage.output()
    assert 0 not in stage.run()
    why = "the pass that orders DDP's gradients failed: KeyError: 'loss'"
    assert [stage.note(rank)["not_resumed"] for rank in (0, 1)] == [why, why]
    assert "resumed" not in stage.note(0)


@pytest.mark.parametrize(
    ("more", "continues"),
    [({}, True), ({"runner": "IterBasedRunner"}, False)],
    ids=["epochs", "iterations"],
)
def test_a_hook_that_looks_at_a_batch_changes_no_order(
    stage: Stage, tmp_path: Path, more: dict[str, str], continues: bool
) -> None:
    """By iterations it is not known afterwards which of the two the trainer goes through."""
    case = {**stage.case, "world": 1, "sampler": "RandomSampler", "beside": True, **more}
    whole, killed = (
        Stage(stage.ranks, tmp_path / "whole", **case),
        Stage(stage.ranks, tmp_path / "killed", **case),
    )
    assert whole.run() == [0], whole.output()
    assert killed.run(die={"rank": 0, "step": 9, "place": "iteration"}) == [-9], killed.output()
    newest = killed.newest()
    assert newest
    if continues:
        assert manifest(newest)["step"] > 5
        assert killed.run() == [0], killed.output()
        assert killed.ends() == whole.ends()
    else:
        assert manifest(newest)["step"] <= 5
        assert killed.note(0)["steps"] == "a hook goes through the training's data, too"


def test_a_fenced_trainer_writes_nothing(stage: Stage) -> None:
    """Another supervisor has made a claim."""
    (stage.folder / "lease" / "000008.json").touch()
    assert stage.run() == [0, 0], stage.output()
    assert not (stage.attempt() / "steps").exists()


@pytest.mark.long
def test_an_unreadable_lease_is_no_permission(stage: Stage) -> None:
    """Nothing is written, and the reason is noted."""
    (stage.folder / "lease" / "000007.json").unlink()
    (stage.folder / "lease").rmdir()
    assert stage.run() == [0, 0], stage.output()
    assert not (stage.attempt() / "steps").exists()
    assert "lease" in stage.note(0)["save_error"]


def test_a_sampler_that_is_not_known_is_noted(stage: Stage) -> None:
    """And nothing is saved."""
    stage.case.update(sampler="OwnSampler")
    assert stage.run() == [0, 0], stage.output()
    assert stage.note(1)["steps"] == "the sampler OwnSampler is not known"
    assert not (stage.attempt() / "steps").exists()


class Known:
    """In the place of mmcv's EpochBasedRunner."""

    world_size, optimizer, model, max_epochs = 1, None, None, 3

    def __init__(self, *flow: tuple[str, int]) -> None:
        loader = DataLoader(range(3))  # type: ignore[arg-type]
        self._trainrelay_flow = [(*one, loader) for one in flow]

    def run(self) -> None: ...
    def train(self) -> None: ...
    def run_iter(self) -> None: ...


class Other(Known):
    def run_iter(self) -> None: ...


class Renamed(Known):
    """What it does is known."""


class Counts(Known):
    """In the place of mmcv's IterBasedRunner."""

    max_epochs = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("runner", "why"),
    [
        (Renamed(("train", 3)), None),
        (Known(("train", 1), ("val", 1)), None),
        (Other(("train", 1)), "the runner Other is not known"),
        (Known(("train", 2), ("val", 1)), "its workflow is [('train', 2), ('val', 1)]"),
        (Known(("train", 1), ("train", 1)), "its workflow is [('train', 1), ('train', 1)]"),
        (Counts(("train", 1)), None),
        (Counts(("train", 3)), "its workflow is [('train', 3)]"),
        (Counts(("train", 1), ("val", 1)), "its workflow is [('train', 1), ('val', 1)]"),
    ],
)
def test_only_a_runner_whose_epochs_are_known_is_saved(runner: Known, why: str | None) -> None:
    """By what it does, whatever its name; a resumed one begins its workflow again."""
    module = SimpleNamespace(EpochBasedRunner=Known, IterBasedRunner=Counts)
    assert Mmcv(runner, module).why_unknown() == why


def test_several_ranks_need_ddp() -> None:
    """Another wrapper may keep other parameters on each rank."""
    runner = Known(("train", 1))
    runner.world_size = 2
    why = step_state.why_unknown(Mmcv(runner, SimpleNamespace(EpochBasedRunner=Known)))
    assert why == "the model is in a NoneType, not in DistributedDataParallel"
