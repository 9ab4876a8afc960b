"""The values of a validation by epoch."""

from __future__ import annotations

from pathlib import Path

from support.mmcv_logs import mmcv_text
from trainrelay.analysis import evaluations, read


def test_each_epoch_has_the_value_of_its_last_evaluation(tmp_path: Path) -> None:
    """An attempt that resumes after epoch 1 evaluates epoch 2 again: the first value of it is gone."""
    first = mmcv_text(epochs=3, validation=True)
    second = mmcv_text(epochs=3, validation=True, resumed=1).replace("mAP: 0.2000", "mAP: nan")
    logs = [tmp_path / "1.log", tmp_path / "2.log"]
    for path, text in zip(logs, (first[: first.index("Epoch [3][50")], second), strict=True):
        path.write_text(text)
    found = evaluations(read(logs))
    assert list(found) == ["pts_bbox_NuScenes/mAP", "AP (M)"]
    assert [str(one) for one in found["pts_bbox_NuScenes/mAP"]] == [
        "0.1 at epoch 1",
        "nan at epoch 2",
        "0.3 at epoch 3",
    ]
