"""What is said of files that nothing can be resumed from."""

from __future__ import annotations

from pathlib import Path

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
    left = leftovers(job, None)
    assert "holds checkpoint0.pth, checkpoint1.pth (is in the format of torch before 1.6" in left.text
    assert "looked for" not in left.text
    assert left.remedy is not None
    assert left.remedy.count("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python -c ") == 1
    assert left.remedy.endswith(f"{work_dir}/checkpoint0.pth' (and so with each)")


def test_weights_alone_name_the_whole_numbers_beside_them(tmp_path: Path, templates: Path) -> None:
    job = toy_job(tmp_path, templates, trainer=InPlace())
    Path(job.request.work_dir).mkdir()
    weights = {"net": {"w": torch.ones(2)}, "EPOCHS_RUN": 3}
    torch.save(weights, Path(job.request.work_dir) / "snapshot.pt")
    said = (
        "snapshot.pt (holds weights without an epoch or an optimizer; whole numbers at its top: EPOCHS_RUN)"
    )
    assert said in leftovers(job, None).text


def test_the_classes_that_checkpoints_need_are_named_once_and_all(tmp_path: Path, templates: Path) -> None:
    """A whole network has many, and each file the same: a few are shown, and what allows all is short."""
    job = toy_job(tmp_path, templates, trainer=InPlace())
    work_dir = Path(job.request.work_dir)
    work_dir.mkdir()
    layers = (torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.SiLU(), torch.nn.Dropout())
    net = torch.nn.Sequential(*layers, torch.nn.Conv2d(1, 1, 1), Own())
    for epoch in range(5):
        torch.save({"model": net, "epoch": epoch}, work_dir / f"checkpoint{epoch}.pth")
    left = leftovers(job, None)
    assert left.remedy == (
        "if that is your own (kind script), allow it in config.yaml, below `script`: classes:"
        f" [{Own.__module__}.*, torch.nn.modules.*]"
    )
    assert "holds checkpoint0.pth, checkpoint1.pth, checkpoint2.pth and 2 more (is unsafe: " in left.text
    assert left.text.count("torch.nn.modules.linear.Linear") == 1
    assert len(left.text) < 350


class Own(torch.nn.Module):
    """A network's own part."""
