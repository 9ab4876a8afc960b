"""What is said of files that nothing can be resumed from."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from support.supervising import InPlace, toy_job
from trainrelay.supervise.resume import leftovers


def test_checkpoints_of_another_format_name_the_command_that_saves_them_again_once(
    tmp_path: Path, templates: Path
) -> None:
    job = toy_job(tmp_path, templates, trainer=InPlace())
    work_dir = Path(job.request.work_dir)
    work_dir.mkdir()
    whole = {"model": {"w": torch.ones(2)}, "optimizer": {"a": 1}, "epoch": 1}
    for name in ("checkpoint0.pth", "checkpoint1.pth"):
        torch.save(whole, work_dir / name, _use_new_zipfile_serialization=False)
    text = leftovers(job, None).text
    assert text.count("is in the format of torch before 1.6") == 2
    assert text.count("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python -c ") == 1
    assert f"{work_dir}/checkpoint0.pth' (and so with each)" in text


def test_classes_that_are_to_be_allowed_are_all_named_once(tmp_path: Path, templates: Path) -> None:
    job = toy_job(tmp_path, templates, trainer=InPlace())
    work_dir = Path(job.request.work_dir)
    work_dir.mkdir()
    kinds = [type(f"Layer{number}", (), {"__module__": "my_package.layers"}) for number in range(30)]
    module = ModuleType("my_package.layers")
    vars(module).update({kind.__name__: kind for kind in kinds})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "my_package", ModuleType("my_package"))
        patch.setitem(sys.modules, "my_package.layers", module)
        for name in ("checkpoint0.pth", "checkpoint1.pth"):
            torch.save({"model": [kind() for kind in kinds], "epoch": 1}, work_dir / name)
    text = leftovers(job, None).text
    named = ", ".join(f"my_package.layers.{kind.__name__}" for kind in kinds)
    assert text.count("set script.classes: [") == text.count(f"set script.classes: [{named}]") == 1
    assert text.count("is unsafe: it wants to call my_package.layers.Layer0") == 2


def test_weights_alone_name_the_whole_numbers_beside_them(tmp_path: Path, templates: Path) -> None:
    job = toy_job(tmp_path, templates, trainer=InPlace())
    Path(job.request.work_dir).mkdir()
    weights = {"net": {"w": torch.ones(2)}, "EPOCHS_RUN": 3}
    torch.save(weights, Path(job.request.work_dir) / "snapshot.pt")
    said = (
        "snapshot.pt (holds weights without an epoch or an optimizer; whole numbers at its top: EPOCHS_RUN)"
    )
    assert said in leftovers(job, None).text
