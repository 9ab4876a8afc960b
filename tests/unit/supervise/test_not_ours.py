"""Files in a work dir that look like checkpoints and that no attempt saved, or not where one is sought."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from support.supervising import Toy, once, toy_job
from trainrelay.errors import Refusal
from trainrelay.supervise.resume import resume_point
from trainrelay.trainers import Launch, LaunchRequest, Observation, checkpoint_files, misplaced_checkpoints
from trainrelay.training.attempts import list_attempts

pytestmark = pytest.mark.process

torch = pytest.importorskip("torch")
DAYS_S = 3 * 86400.0
QUIET = Console(file=io.StringIO())


class Copies(Toy):
    """Its trainer first copies a checkpoint of epoch 6 into the work dir."""

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        toy = super().launch(request, inherited)
        copy = f'mkdir -p "{request.work_dir}" && cp "{request.config}/epoch_6.pth" "{request.work_dir}/"'
        return replace(toy, argv=("sh", "-c", f'{copy} && exec "$@"', "sh", *toy.argv))


class Mute(Toy):
    """Its lines are not understood."""

    def observe(self, line: str) -> Observation | None:
        return None


def put(templates: Path, work_dir: Path, epoch: int, age_s: float = 0.0) -> Path:
    target = work_dir / f"epoch_{epoch}.pth"
    shutil.copy(templates / target.name, target)
    os.utime(target, (time.time() - age_s,) * 2)
    return target


class TestLaterEpoch:
    """Of another training, copied there."""

    @pytest.mark.parametrize(("epoch", "age_s"), [(4, DAYS_S), (6, DAYS_S), (6, 0.0)])
    def test_is_neither_resumed_from_nor_final(
        self, tmp_path: Path, templates: Path, epoch: int, age_s: float
    ) -> None:
        job = toy_job(tmp_path, templates, "killed")
        once(job, QUIET)
        foreign = put(templates, job.work_dirs.current, epoch, age_s)
        said = io.StringIO()
        done = once(toy_job(tmp_path, templates), Console(file=said, width=1000))
        assert done.resumed_from is not None
        assert done.final_checkpoint is not None
        assert (done.resumed_from.epoch, done.final_checkpoint.epoch, done.end) == (1, 3, "done")
        assert f"not resumed from: {foreign} is of epoch {epoch}" in said.getvalue()

    def test_copied_by_the_trainer_does_not_finish_an_attempt(self, tmp_path: Path, templates: Path) -> None:
        job = toy_job(tmp_path, templates, "killed", trainer=Copies())
        attempt = once(job, QUIET)
        assert (attempt.end, attempt.saved_epoch, attempt.final_checkpoint) == ("killed", 1, None)

    def test_alone_is_named_and_nothing_starts_beside_it(self, tmp_path: Path, templates: Path) -> None:
        job = toy_job(tmp_path, templates, "killed")
        once(job, QUIET)
        (job.work_dirs.current / "epoch_1.pth").unlink()
        put(templates, job.work_dirs.current, 6)
        with pytest.raises(Refusal, match=r"holds epoch_6\.pth \(is of epoch 6, but only 3 were asked for"):
            once(toy_job(tmp_path, templates), QUIET)

    def test_where_no_line_is_understood_its_time_decides(self, tmp_path: Path, templates: Path) -> None:
        job = toy_job(tmp_path, templates, "killed", trainer=Mute())
        once(job, QUIET)
        old = put(templates, job.work_dirs.current, 3, DAYS_S)
        assert [epoch for epoch, _ in job.checkpoints()] == [1]
        old.touch()  # as the refusal says
        assert [epoch for epoch, _ in job.checkpoints()] == [3, 1]

    def test_what_output_that_was_lost_told_of_is_ours(self, tmp_path: Path, templates: Path) -> None:
        """A buffer dies with its trainer: epochs 2 and 3 were trained and saved, epoch 1 printed."""
        job = toy_job(tmp_path, templates, "killed")
        once(job, QUIET)
        put(templates, job.work_dirs.current, 3)
        put(templates, job.work_dirs.current, 4)
        assert [epoch for epoch, _ in job.checkpoints()] == [4, 3, 1]


def save(path: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}, "optimizer": {"state": {}}, "epoch": 3}, path)


def legacy(path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}, "epoch": 3}, path, _use_new_zipfile_serialization=False)


def linked(path: Path) -> None:
    save(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def of_tensors(path: Path) -> None:
    path.write_bytes(pickle.dumps({"w": torch.ones(2)}))


def of_text(path: Path) -> None:
    path.write_bytes(pickle.dumps({"boxes": [[0.0, 1.0]] * 1000}))


def weights_alone(path: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}}, path)


def a_tar(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(__file__, "code.py")


LIKE = [
    ("checkpoints/epoch_3.pth", save),
    ("a/b/last", save),
    ("lightning_logs/version_0/checkpoints/epoch=3-step=256.ckpt", save),
    ("epoch_3.pth", linked),
    ("dangling.ckpt", lambda path: path.symlink_to("/not/mounted/epoch_3.ckpt")),
    ("model.bin", save),
    ("model.bin", legacy),
    ("net.tar", save),
    ("snapshot.pkl", of_tensors),
    ("weights.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n")),
    ("global_step100/mp_rank_00_model_states.pt", save),
    ("checkpoint-500/trainer_state.json", Path.touch),
]
UNLIKE = [
    ("latest.pth", lambda path: path.symlink_to("epoch_3.pth")),
    ("tf_logs/events.out.tfevents.1", lambda path: path.write_bytes(b"\x18\0\0\0\0\0\0\0brain.Event:2")),
    ("wandb/run-1/output.log", lambda path: path.write_text("epoch 1")),
    ("vis/epoch_1/0001.png", lambda path: path.write_bytes(b"\x89PNG" + bytes(5000))),
    ("results.pkl", of_text),
    ("code.tar", a_tar),
    ("pretrained/resnet50.pth", weights_alone),
    ("a/b/c/d/e.pth", save),
    ("a fifo", os.mkfifo),
]


def made(folder: Path, name: str, make: Callable[[Path], object]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    return path


@pytest.mark.parametrize(("name", "make"), LIKE)
def test_what_looks_like_a_checkpoint_is_found_wherever_it_is(
    tmp_path: Path, name: str, make: Callable[[Path], object]
) -> None:
    path = made(tmp_path / "w", name, make)
    assert {path, path.parent}.intersection(
        found
        for found, _ in misplaced_checkpoints(
            tmp_path / "w", checkpoint_files(tmp_path / "w"), time.time() - 60
        )
    )


@pytest.mark.parametrize(("name", "make"), UNLIKE)
def test_what_does_not_is_left_out(tmp_path: Path, name: str, make: Callable[[Path], object]) -> None:
    made(tmp_path, name, make)
    assert misplaced_checkpoints(tmp_path, checkpoint_files(tmp_path), time.time() - 60) == []


def test_what_was_there_before_the_training_is_left_out(tmp_path: Path) -> None:
    path = made(tmp_path, "dataset/pretrained/epoch_300.pth", save)
    os.utime(path, (time.time() - DAYS_S,) * 2)
    assert misplaced_checkpoints(tmp_path, checkpoint_files(tmp_path), time.time() - 60) == []


def test_of_a_data_set_only_a_part_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "checkpoints/epoch_3.pth", save)
    for number in range(1500):
        made(tmp_path, f"data/{number}.jpg", Path.touch)
    looked = itertools.count()
    is_symlink = Path.is_symlink
    monkeypatch.setattr(Path, "is_symlink", lambda path: (next(looked), is_symlink(path))[1])
    assert [
        path.name for path, _ in misplaced_checkpoints(tmp_path, checkpoint_files(tmp_path), time.time() - 60)
    ] == ["epoch_3.pth"]
    assert next(looked) < 1100


def test_no_attempt_starts_from_scratch_beside_checkpoints_in_a_folder(
    tmp_path: Path, templates: Path
) -> None:
    """What the sentence says to move away is the way out; our own earlier one is moved with them."""
    job = toy_job(tmp_path, templates, "killed")
    once(job, QUIET)
    saves = job.work_dirs.current / "saves"
    saves.mkdir()
    (job.work_dirs.current / "epoch_1.pth").rename(saves / "epoch_1.pth")
    with pytest.raises(Refusal, match=r"saves/epoch_1\.pth \(is in a folder below.*move these files away"):
        once(toy_job(tmp_path, templates), QUIET)
    saves.rename(tmp_path / "saves")
    assert once(toy_job(tmp_path, templates), QUIET).end == "done"
    assert [one.resumed_from for one in list_attempts(job.stage_dir)] == [None, None]


def test_links_to_where_a_trainer_saves_are_refused(tmp_path: Path, templates: Path) -> None:
    job = toy_job(tmp_path, templates, "killed")
    once(job, QUIET)
    path = job.work_dirs.current / "epoch_1.pth"
    path.rename(tmp_path / "epoch_1.pth")
    subprocess.run(["ln", "-s", tmp_path / "epoch_1.pth", path], check=True)
    with pytest.raises(Refusal, match=r"holds epoch_1\.pth \(is no file"):
        resume_point(job)
