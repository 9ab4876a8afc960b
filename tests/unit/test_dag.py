"""What the rules ask of Snakemake for a training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from support.stage_on_disk import RANKS, OnDisk
from trainrelay import dag

WILDCARDS = SimpleNamespace(run="r")


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


def test_a_training_asks_for_its_gpus_until_it_is_complete_and_then_for_none(disk: OnDisk) -> None:
    """Asked at submission: the same function, made before the training, sees that it ended."""
    gpu = dag.resources(disk.config(), "s")["gpu"]
    assert gpu(WILDCARDS) == RANKS
    disk.train()
    assert gpu(WILDCARDS) == 0


def test_a_changed_training_asks_for_its_gpus_again(disk: OnDisk) -> None:
    disk.train()
    assert dag.resources(disk.config(seed=7), "s")["gpu"](WILDCARDS) == RANKS


def test_every_ingredient_and_the_epochs_are_params_that_snakemake_compares(disk: OnDisk) -> None:
    texts = [param(WILDCARDS) for param in dag.signature_params(disk.config(), "s")]
    assert "config: optimizer.lr = 0.1" in texts
    assert "world size = 8" in texts
    assert "epochs = 2" in texts
