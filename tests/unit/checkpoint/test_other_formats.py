"""Checkpoints that are whole but not as we read them: the command of the message makes them so."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

from trainrelay.checkpoint import glance, inspect
from trainrelay.errors import CheckpointError

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def crc_off() -> Iterator[None]:
    torch.serialization.set_crc32_options(False)
    yield
    torch.serialization.set_crc32_options(True)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Any]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def follow_the_message(path: Path) -> str:
    """Runs what the message says, with this Python as the trainer's."""
    with pytest.raises(CheckpointError) as caught:
        inspect(path)
    message = str(caught.value)
    found = re.search(r"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python .*", message)
    assert found, message
    path_first = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", found[0]],
        env={**os.environ, "PATH": path_first},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(one.name for one in path.parent.glob(f"{path.name}*")) == [path.name]
    return message


def test_weights_of_hugging_faces_trainer_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x40" + bytes(7) + b'{"__metadata__":{"format":"pt"}}')
    said = glance(tmp_path / "model.safetensors").problem
    assert said == "is of safetensors, weights alone, which are not read"


@pytest.mark.process
def test_the_format_before_torch_1_6(tmp_path: Path, mmcv_style: Make) -> None:
    """With what torch loads from it only if told to: numpy's numbers, a Namespace."""
    path = tmp_path / "it's old.pth"
    whole = mmcv_style(args=argparse.Namespace(lr=0.1))
    torch.save(whole, path, _use_new_zipfile_serialization=False)
    assert "before 1.6" in (glance(path).problem or "")
    assert "if your own training wrote it, change how it saves" in follow_the_message(path)
    assert (inspect(path).epoch, inspect(path).tensors) == (2, 7)


@pytest.mark.process
def test_a_file_without_checksums(tmp_path: Path, mmcv_style: Make, crc_off: None) -> None:
    path = tmp_path / "epoch_2.pth"
    torch.save(mmcv_style(args=argparse.Namespace(lr=0.1)), path)
    assert "set_crc32_options(False)" in follow_the_message(path)
    assert inspect(path).epoch == 2


@pytest.mark.process
def test_tensors_in_a_wrapper(tmp_path: Path, mmcv_style: Make, mesh: Any) -> None:
    path, weights = tmp_path / "epoch_2.pth", mmcv_style()["state_dict"]
    wrapped = distribute_tensor(weights["0.weight"], mesh, [Shard(0)])
    torch.save(mmcv_style(state_dict={**weights, "0.weight": wrapped}), path)
    assert "DTensor" in follow_the_message(path)
    assert inspect(path).tensors == 7
    again = torch.load(path, weights_only=False)["state_dict"]["0.weight"]
    assert torch.equal(again, weights["0.weight"])
