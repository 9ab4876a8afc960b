"""What a start looks at on its node: refused only what could not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trainrelay.preflight.node import too_few_cores, too_few_gpus, visible_gpus

Driver = Callable[[str, int], None]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """An nvidia-smi that prints this and exits so."""

    def install(text: str, status: int = 0) -> None:
        (tmp_path / "said").write_text(text)
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/said\nexit {status}\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    return install


@pytest.mark.parametrize(
    ("named", "listed", "visible"),
    [
        ("0,1,2,3", None, 4),
        ("0,1,2,3", 2, 2),
        ("1", 8, 1),
        ("", 8, 0),
        ("NoDevFiles", 8, 0),
        ("0, 1,-1,2", 8, 2),
        ("GPU-8932f937,MIG-2b", None, 2),
        (None, 8, 8),
        (None, None, None),
    ],
)
def test_a_trainer_sees_the_named_gpus_that_the_driver_lists(
    named: str | None, listed: int | None, visible: int | None
) -> None:
    assert visible_gpus(named, listed) == visible


@pytest.mark.process
def test_fewer_gpus_than_ranks_are_refused_with_what_to_set(driver: Driver) -> None:
    driver("GPU 0: NVIDIA A40 (UUID: GPU-1)\nGPU 1: NVIDIA A40 (UUID: GPU-2)\n", 0)
    assert too_few_gpus(2, {}) is None
    assert too_few_gpus(2, {"CUDA_VISIBLE_DEVICES": "0,1"}) is None
    refusal = too_few_gpus(8, {"CUDA_VISIBLE_DEVICES": "0"}) or ""
    assert refusal.startswith("8 ranks need a GPU each, and this machine shows 1 (CUDA_VISIBLE_DEVICES=0)")
    assert "resources.gpu" in refusal


@pytest.mark.process
@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver", 9),
        ("", 0),
        ("GPU 0: NVIDIA A100 (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-1)\n", 0),
    ],
)
def test_a_driver_that_does_not_tell_refuses_nobody(driver: Driver, said: str, status: int) -> None:
    driver(said, status)
    assert too_few_gpus(8, {}) is None


def test_fewer_cores_are_remarked() -> None:
    assert too_few_cores(1) is None
    assert "100000 were asked for" in (too_few_cores(100_000) or "")
