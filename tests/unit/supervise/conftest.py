"""Templates of checkpoints, and the promise that nothing is left running."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.counting import EPOCHS
from support.supervising import carrying


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """epoch_1.pth to epoch_6.pth as mmcv saves them, small."""
    torch = pytest.importorskip("torch")
    folder: Path = tmp_path_factory.mktemp("templates")
    for epoch in range(1, 7):
        weights = {"head.weight": torch.full((2, 2), float(epoch)), "head.bias": torch.zeros(2)}
        moments = {0: {"momentum_buffer": torch.zeros(2, 2)}}
        optimizer = {"state": moments, "param_groups": [{"lr": 0.1, "params": [0]}]}
        meta = {"epoch": epoch, "iter": epoch * 3}
        torch.save(
            {"meta": meta, "state_dict": weights, "optimizer": optimizer}, folder / f"epoch_{epoch}.pth"
        )
    return folder


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.pth to 3.pth, each of which says its number."""
    torch = pytest.importorskip("torch")
    folder: Path = tmp_path_factory.mktemp("numbered")
    for number in range(EPOCHS + 1):
        whole = {"model": {"w": torch.ones(1)}, "optimizer": {"state": {}}, "epoch": number}
        torch.save(whole, folder / f"{number}.pth")
    return folder


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process that a test started is alive after it; those of other tests and trainings are not ours."""
    mark = str(uuid.uuid4())
    monkeypatch.setenv("TRAINRELAY_TEST", mark)
    yield
    left = carrying(mark, "TRAINRELAY_TEST")
    for pid in left:
        psutil.Process(pid).kill()
    assert not left, f"processes left: {left}"
