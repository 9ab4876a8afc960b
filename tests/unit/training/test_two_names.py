"""One folder by two names (a link in `out`, `root` or `work_dir`) is one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.stage_on_disk import WEIGHTS, OnDisk
from trainrelay.config import Config, parse
from trainrelay.records import Identity, Owner
from trainrelay.system.files import read_record, write_json
from trainrelay.training import archiving, state
from trainrelay.training.archive import archived_trainings
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan

OWNER = "c" * 32
INSIDE, OUTSIDE = "runs/r/s/work_dir", "checkout/wd"


def config(base: Path, work_dir: str, root: str = "", **stage: Any) -> Config:
    """`base` may be spelled through a link, and `root` too."""
    trainer = {"kind": "mmcv", "root": root or str(base / "checkout"), "nproc_per_node": 8}
    settings = {"config": "a.py", "epochs": 2, "backends": ["gloo"], "resources": {"gpu": 8}, **stage}
    settings |= {} if work_dir == INSIDE else {"work_dir": work_dir}
    out = {"out": str(base / "runs"), "retrain_guard_gpu_h": 100}
    return parse({**out, "runs": {"r": {"trainer": trainer, "stages": {"s": settings}}}})


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    disk = OnDisk(tmp_path / "real")
    disk.make_checkout()
    disk.train()
    return disk


def owned(disk: OnDisk, where: str, owner_file: bool) -> None:
    """Trained with its work dir there."""
    work_dir = disk.base / where
    if where != INSIDE:
        disk.paths.work_dir.rename(work_dir)
    identity = read_record(disk.paths.identity, Identity)
    assert identity
    found = {"owner": OWNER, "work_dir": str(work_dir)}
    write_json(disk.paths.identity, identity.model_copy(update=found))
    if owner_file:
        write_json(work_dir / "owner.json", Owner(id=OWNER, was_empty=True, folder=str(disk.paths.folder)))


def spelled(disk: OnDisk, where: str, **stage: Any) -> list[Config]:
    """Each way to name the same folders."""
    link = disk.base.with_name("link")
    return [
        config(disk.base, where, **stage),
        config(link, where, **stage),
        config(disk.base, str(link / where), **stage),
        config(link, str(disk.base / where), **stage),
        config(disk.base, where if where == INSIDE else "wd", root=str(link / "checkout"), **stage),
    ]


@pytest.mark.parametrize("owner_file", [True, False])
@pytest.mark.parametrize("where", [INSIDE, OUTSIDE])
def test_the_training_is_found_by_every_name(disk: OnDisk, where: str, owner_file: bool) -> None:
    owned(disk, where, owner_file)
    for one in spelled(disk, str(disk.base / where) if where == OUTSIDE else where):
        planned = stage_plan(StageContext(one, "r", "s"))
        assert (planned.state, planned.action) == ("complete", "nothing")
    for one in spelled(disk, str(disk.base / where) if where == OUTSIDE else where, epochs=3):
        planned = stage_plan(StageContext(one, "r", "s"))
        assert (planned.state, planned.doing) == ("resumable", "continues from epoch 2 to 3")


@pytest.mark.parametrize("number", range(4))
def test_it_is_archived_and_restored_whole_by_every_name(disk: OnDisk, number: int) -> None:
    owned(disk, INSIDE, owner_file=True)
    at = StageContext(spelled(disk, INSIDE, seed=7)[number], "r", "s")
    assert stage_plan(at).action == "retrain"
    archiving.carry_out(archiving.moves_away(state.read(at)))
    old = disk.paths.folder.with_name("s.old-1")
    assert (old / "work_dir/epoch_2.pth").read_bytes() == WEIGHTS
    (archived,) = archived_trainings(at.paths)
    archiving.carry_out(archiving.moves_back(state.read(at), archived, at.trainer))
    assert disk.checkpoint.read_bytes() == WEIGHTS
    assert state.current(StageContext(spelled(disk, INSIDE)[number], "r", "s")).kind == "complete"
