"""A takeover from an owner that may still live: what counts of which work dir."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from support.attempts import an_attempt
from trainrelay.records import AttemptRecord, EpochBases, Takeover
from trainrelay.trainers import TRAINERS, ScriptSettings
from trainrelay.training.work_dirs import WorkDirs

MMCV = TRAINERS["mmcv"]


def saved(folder: Path, *epochs: int) -> None:
    folder.mkdir(exist_ok=True)
    for epoch in epochs:
        (folder / f"epoch_{epoch}.pth").write_bytes(b"weights")


def test_without_a_takeover_the_configs_work_dir_is_the_only_one(tmp_path: Path) -> None:
    saved(tmp_path / "w", 1, 2)
    dirs = WorkDirs(tmp_path / "w")
    assert dirs.current == tmp_path / "w"
    assert [epoch for epoch, _ in dirs.checkpoints(MMCV)] == [2, 1]


def test_a_takeover_writes_to_a_work_dir_of_its_own(tmp_path: Path) -> None:
    dirs = WorkDirs(tmp_path / "w", (Takeover(token=4, after_epoch=2),))
    assert dirs.current == tmp_path / "w.taken-4"
    assert dirs.all == (tmp_path / "w", tmp_path / "w.taken-4")


def test_what_the_old_owner_writes_after_the_takeover_does_not_count(tmp_path: Path) -> None:
    saved(tmp_path / "w", 1, 2, 3, 4)
    saved(tmp_path / "w.taken-4", 3)
    dirs = WorkDirs(tmp_path / "w", (Takeover(token=4, after_epoch=2),))
    assert dirs.checkpoints(MMCV) == [
        (3, tmp_path / "w.taken-4/epoch_3.pth"),
        (2, tmp_path / "w/epoch_2.pth"),
        (1, tmp_path / "w/epoch_1.pth"),
    ]


def test_each_takeover_bounds_the_work_dir_before_it(tmp_path: Path) -> None:
    saved(tmp_path / "w", 1, 2, 3)
    saved(tmp_path / "w.taken-4", 2, 3, 4)
    saved(tmp_path / "w.taken-7", 4)
    dirs = WorkDirs(tmp_path / "w", (Takeover(token=4, after_epoch=1), Takeover(token=7, after_epoch=3)))
    assert [(epoch, path.parent.name) for epoch, path in dirs.checkpoints(MMCV)] == [
        (4, "w.taken-7"),
        (3, "w.taken-4"),
        (2, "w.taken-4"),
        (1, "w"),
    ]


def test_our_copy_comes_after_the_trainers_own_file_of_the_same_epoch(tmp_path: Path) -> None:
    saved(tmp_path / "w", 2, 3)
    saved(tmp_path / "kept", 3)
    dirs = WorkDirs(tmp_path / "w", kept=tmp_path / "kept")
    assert [path.relative_to(tmp_path).parts[0] for _, path in dirs.checkpoints(MMCV)] == ["w", "kept", "w"]


def test_an_empty_file_is_no_progress_and_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "w", 2)
    empty = tmp_path / "w/epoch_99999.pth"
    empty.touch()
    dirs = WorkDirs(tmp_path / "w", kept=tmp_path / "kept")
    assert [epoch for epoch, _ in dirs.checkpoints(MMCV)] == [2]
    assert dirs.unrecognised(MMCV) == [(empty, "is empty")]


@pytest.mark.parametrize(("name", "begins"), [("checkpoint-3", True), ("last", False)])
def test_the_only_folder_of_a_training_killed_within_its_save_is_its_first_save(
    tmp_path: Path, name: str, begins: bool
) -> None:
    """Also after some epochs: with a number in its name, none was saved over."""
    trainer = TRAINERS["script"].of(ScriptSettings(command="x {entry}", checkpoints=f"{name[:10]}*/"), "t.py")
    folder = tmp_path / "w" / name
    folder.mkdir(parents=True)
    torch.save({"weight": torch.ones(1)}, folder / "model.pt")
    (folder / "optimizer.pt").write_bytes(b"PK")
    killed = an_attempt(1, started_s=time.time() - 60, ended_s=time.time(), exit_status=-9, last_epoch=3)
    dirs = WorkDirs(tmp_path / "w", attempts=(killed,))
    assert dirs.in_first_save(trainer) == (folder if begins else None)
    (tmp_path / "w" / f"{name}0").mkdir()
    assert dirs.in_first_save(trainer) is None


def begun(*started_s: float) -> tuple[AttemptRecord, ...]:
    """Attempts whose end nobody saw, each of them on another host."""
    return tuple(
        AttemptRecord.model_construct(
            number=number,
            log="no.log",
            started_s=at_s,
            epochs=3,
            last_epoch=None,
            end="lost",
            resumed_from=None,
            saved_epoch=None,
        )
        for number, at_s in enumerate(started_s, 1)
    )


class TestClocks:
    """An hour apart: each file below was saved a minute after the attempt that saved it had begun."""

    NOW_S, HOUR_S = 1_700_000_000.0, 3600.0

    def counted(self, folder: Path, owned_s: float, saved_s: float, *started_s: float) -> bool:
        saved(folder, 2)
        (folder / "owner.json").touch()
        os.utime(folder / "owner.json", (owned_s, owned_s))
        os.utime(folder / "epoch_2.pth", (saved_s, saved_s))
        return bool(WorkDirs(folder, attempts=begun(*started_s)).checkpoints(MMCV))

    def test_the_first_attempts_host_is_ahead(self, tmp_path: Path) -> None:
        ahead_s = self.NOW_S + self.HOUR_S
        assert self.counted(tmp_path, ahead_s, self.NOW_S + 60, ahead_s, self.NOW_S)

    @pytest.mark.parametrize("set_right_s", [-7200.0, 1800.0], ids=["before the end", "after it"])
    def test_the_only_clock_was_ahead_and_was_set_right(self, tmp_path: Path, set_right_s: float) -> None:
        """The attempt's start and owner.json are of the time that was wrong, its checkpoint of now."""
        ahead_s = time.time() + self.HOUR_S
        log = tmp_path / "s/attempts/001/trainer.log"
        log.parent.mkdir(parents=True)
        log.touch()
        os.utime(log, (ahead_s + set_right_s,) * 2)
        (one,) = begun(ahead_s)
        one = one.model_copy(update={"log": str(log)})
        saved(folder := tmp_path / "w", 2)
        (folder / "owner.json").touch()
        os.utime(folder / "owner.json", (ahead_s,) * 2)
        dirs = WorkDirs(folder, kept=tmp_path / "s/kept", attempts=(one,))
        assert dirs.checkpoints(MMCV)
        long_ago = replace(dirs, attempts=(one.model_copy(update={"started_s": self.HOUR_S * 24}),))
        os.utime(folder / "epoch_2.pth", (0, 0))
        assert not long_ago.checkpoints(MMCV)

    def test_the_file_server_is_behind(self, tmp_path: Path) -> None:
        behind_s = self.NOW_S - self.HOUR_S
        assert self.counted(tmp_path, behind_s, behind_s + 60, self.NOW_S)

    def test_a_file_from_before_is_known_by_either_clock(self, tmp_path: Path) -> None:
        assert not self.counted(tmp_path, self.NOW_S, self.NOW_S - self.HOUR_S, self.NOW_S)


@pytest.mark.parametrize(
    ("printed", "since_s", "exit_status", "begins_again"),
    [
        (10, 5, 137, True),
        (11, 5, 137, False),
        (10, 3600, 137, False),
        (10, 5, 0, False),
        (None, 5, 137, False),
    ],
)
def test_a_first_folder_without_an_optimizer_is_resumed_from_only_if_its_save_ended(
    tmp_path: Path, printed: int | None, since_s: float, exit_status: int, begins_again: bool
) -> None:
    """That is known by what was printed after it, or by a pause; a script may need no optimizer."""
    torch = pytest.importorskip("torch")
    folder = tmp_path / "w/checkpoint-10"
    folder.mkdir(parents=True)
    torch.save({"layer.weight": torch.ones(2, 2)}, folder / "pytorch_model.bin")
    script = ScriptSettings(command="{launcher} {entry}", checkpoints="checkpoint-{iter}/")
    trainer, now_s = TRAINERS["script"].of(script, "t.py", 30), time.time()
    times = {"started_s": now_s - 9, "ended_s": now_s + since_s}
    run = an_attempt(1, epochs=None, iters=30, last_iteration=printed, exit_status=exit_status, **times)
    dirs = WorkDirs(tmp_path / "w", attempts=(run,), bases=EpochBases(printed=0, saved=0))
    assert dirs.in_first_save(trainer) == (folder if begins_again else None)
    assert dirs.checkpoints(trainer) == ([] if begins_again else [(10, folder)])
    assert bool(dirs.newest_valid(trainer)[0]) is not begins_again


@pytest.mark.parametrize(
    ("weights", "random", "ended"),
    [
        ("pytorch_model.bin", (1,), False),
        ("pytorch_model.bin", (0, 1), True),
        ("weights.bin", (), True),  # a script's own, which saves no random states
    ],
)
def test_a_first_folder_of_accelerate_is_whole_once_the_main_rank_has_saved_its_random_state(
    tmp_path: Path, weights: str, random: tuple[int, ...], ended: bool
) -> None:
    """The others do that first, while it still saves the weights; the schedulers come before it."""
    torch = pytest.importorskip("torch")
    folder, net = tmp_path / "w/checkpoint_1", torch.nn.Linear(2, 2)
    folder.mkdir(parents=True)
    torch.save(net.state_dict(), folder / weights)
    torch.save(torch.optim.SGD(net.parameters(), 1.0).state_dict(), folder / "optimizer.bin")
    for rank in random:
        torch.save({"step": 0}, folder / f"random_states_{rank}.pkl")
    script = ScriptSettings(command="{launcher} {entry}", checkpoints="checkpoint_{epoch}/")
    times = {"started_s": time.time() - 9, "ended_s": time.time() + 5}
    dirs = WorkDirs(tmp_path / "w", attempts=(an_attempt(1, last_epoch=1, exit_status=137, **times),))
    trainer = TRAINERS["script"].of(script, "t.py")
    assert dirs.in_first_save(trainer) == (None if ended else folder)
    assert dirs.checkpoints(trainer) == ([(1, folder)] if ended else [])


@pytest.mark.parametrize(("ranks", "resumed_from"), [((2, 2), 1), ((2, 1), 2), ((1, 2), 2)])
def test_a_rank_without_its_file_is_missed_where_the_attempts_had_as_many(
    tmp_path: Path, ranks: tuple[int, int], resumed_from: int
) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 2)
    states = {"model": net.state_dict(), "optimizer": torch.optim.SGD(net.parameters(), 1.0).state_dict()}
    for count, there in ((1, ("0", "1")), (2, ("0",))):
        (folder := tmp_path / f"w/checkpoint-{count}").mkdir(parents=True)
        torch.save(states, folder / "all.pt")
        for rank in there:
            torch.save({}, folder / f"rng_state_{rank}.pth")
    script = ScriptSettings(command="{launcher} {entry}", checkpoints="checkpoint-{epoch}/")
    first = an_attempt(1, last_epoch=1, saved_epoch=1, world_size=ranks[0])
    second = an_attempt(2, 1, last_epoch=2, world_size=ranks[1])
    dirs = WorkDirs(tmp_path / "w", attempts=(first, second), bases=EpochBases(printed=0, saved=0))
    facts, skipped = dirs.newest_valid(TRAINERS["script"].of(script, "t.py"))
    assert facts
    assert (facts.epoch, len(skipped)) == (resumed_from, 2 - resumed_from)


def test_weights_in_a_folder_that_was_written_over_are_of_the_later_attempt(tmp_path: Path) -> None:
    """Files that are opened again leave their folder as old as it was."""
    torch = pytest.importorskip("torch")
    folder = tmp_path / "w/epoch_2"
    folder.mkdir(parents=True)
    torch.save({"layer.weight": torch.ones(2, 2)}, folder / "pytorch_model.bin")
    os.utime(folder, (1, 1))
    script = ScriptSettings(command="{launcher} {entry}", checkpoints="epoch_{epoch}/")
    trained = an_attempt(1, last_epoch=3, started_s=time.time() - 60)
    dirs = WorkDirs(tmp_path / "w", attempts=(trained,), bases=EpochBases(printed=0, saved=0))
    assert dirs.of_weights(TRAINERS["script"].of(script, "t.py")) == {2: folder}
