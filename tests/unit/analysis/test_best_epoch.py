"""The values of a validation by epoch or iteration."""

from __future__ import annotations

from pathlib import Path

from support.mmcv_logs import mmcv_text
from trainrelay.analysis import DescribedLines, evaluations, read
from trainrelay.progress_lines.described import RowReader


def test_each_epoch_has_the_value_of_its_last_evaluation(tmp_path: Path) -> None:
    """An attempt that resumes after epoch 1 evaluates epoch 2 again: the first value of it is gone."""
    first = mmcv_text(epochs=3, validation=True)
    second = mmcv_text(epochs=3, validation=True, resumed=1).replace("mAP: 0.2000", "mAP: nan")
    logs = [tmp_path / "1.log", tmp_path / "2.log"]
    for path, text in zip(logs, (first[: first.index("Epoch [3][50")], second), strict=True):
        path.write_text(text)
    found = evaluations(read(logs), "epoch")
    assert list(found) == ["pts_bbox_NuScenes/mAP", "AP (M)"]
    assert [str(one) for one in found["pts_bbox_NuScenes/mAP"]] == [
        "0.1 at epoch 1",
        "nan at epoch 2",
        "0.3 at epoch 3",
    ]


def test_a_table_of_evaluations_alone_has_their_iterations(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text("step,val_acc\n200,0.5\n400,0.75\n")
    table = DescribedLines(lambda: RowReader(400), None, one_start=False)
    found = evaluations(read([tmp_path / "val.csv"], own=table), "iteration")
    assert [str(one) for one in found["acc"]] == ["0.5 at iteration 200", "0.75 at iteration 400"]


def test_one_epoch_is_an_epoch(tmp_path: Path) -> None:
    """Its iterations count as over the whole run, too."""
    (tmp_path / "1.log").write_text(mmcv_text(epochs=1, validation=True))
    found = evaluations(read([tmp_path / "1.log"]), "epoch")
    assert [one.done for one in found["pts_bbox_NuScenes/mAP"]] == [1]
