"""A trainer that saves two networks, a file each: neither stands for both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.attempts import an_attempt
from support.supervising import toy_job
from trainrelay.errors import Refusal
from trainrelay.supervise import StageJob
from trainrelay.supervise.attempt_end import final_checkpoint
from trainrelay.supervise.resume import resume_point
from trainrelay.trainers.metriclogger import MetricLogger

torch = pytest.importorskip("torch")
WIDE, NARROW, HEAD = (4, 2), (2, 3), (5, 2)


def saved(job: StageJob, name: str, epoch: int, *sizes: tuple[int, ...], prefix: str = "") -> Path:
    """A checkpoint of layers of these sizes."""
    folder = job.work_dirs.current
    folder.mkdir(parents=True, exist_ok=True)
    weights = {f"{prefix}{number}.weight": torch.ones(size) for number, size in enumerate(sizes)}
    whole = {"model": weights, "optimizer": {"state": {}, "param_groups": []}, "epoch": epoch - 1}
    torch.save(whole, folder / name)
    return folder / name


@pytest.fixture
def job(tmp_path: Path, templates: Path) -> StageJob:
    return toy_job(tmp_path, templates, trainer=MetricLogger())


def test_two_networks_of_one_epoch_are_refused_with_what_to_do(job: StageJob) -> None:
    saved(job, "netG_3.pth", 3, WIDE, NARROW)
    saved(job, "netD_3.pth", 3, NARROW, NARROW)
    with pytest.raises(Refusal, match="two networks") as refused:
        resume_point(job)
    assert {"netD_3.pth", "netG_3.pth"} <= set(re.findall(r"net._3\.pth", str(refused.value)))
    final, problem = final_checkpoint(job, 0, an_attempt(1))
    assert final is None
    assert "save both in one" in (problem or "")


def test_what_the_refusal_says_to_do_helps(job: StageJob) -> None:
    saved(job, "netG_3.pth", 3, WIDE, NARROW)
    other = saved(job, "netD_3.pth", 3, NARROW, NARROW)
    (other.parent / "D").mkdir()
    other.rename(other.parent / "D" / other.name)
    point, _ = resume_point(job)
    assert point is not None
    assert Path(point.path).name == "netG_3.pth"
    final, _ = final_checkpoint(job, 0)
    assert final is not None


def test_copies_averages_parts_and_weights_alone_are_no_other_network(job: StageJob) -> None:
    saved(job, "checkpoint.pth", 3, WIDE, NARROW)
    saved(job, "checkpoint0002.pth", 3, WIDE, NARROW)
    saved(job, "ema.pth", 3, WIDE, NARROW, (), prefix="module.")
    saved(job, "backbone.pth", 3, WIDE)
    torch.save({"model": {"x.weight": torch.ones(HEAD)}, "epoch": 2}, job.work_dirs.current / "x.pth")
    point, _ = resume_point(job)
    assert point is not None
    assert Path(point.path).name == "checkpoint0002.pth"


def test_networks_of_several_epochs_may_differ(job: StageJob) -> None:
    """As where layers are added."""
    saved(job, "2.pth", 2, WIDE, NARROW)
    saved(job, "3.pth", 3, HEAD)
    point, _ = resume_point(job)
    assert point is not None
    assert point.epoch == 3
