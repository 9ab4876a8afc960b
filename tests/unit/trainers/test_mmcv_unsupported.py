"""Configs that kind mmcv cannot train by epochs: those of mmengine, and runners that count iterations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trainrelay.trainers import RUNGS, TRAINERS, LaunchRequest, Option

MMCV = TRAINERS["mmcv"]
# As mmdet 3 writes them, in two styles.
MMENGINE = {
    "a loop": "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)\n",
    "a loop of iterations": "train_cfg = dict(type='IterBasedTrainLoop', max_iters=90000)\n",
    "an optimizer": "optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02))\n",
    "imports as bases": "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n",
}
# As mmseg 0.x writes them.
BY_ITERATION = {
    "a runner": "runner = dict(type='IterBasedRunner', max_iters=160000)\n",
    "computed": "n = len(open('a').read())\nrunner = dict(type='IterBasedRunner', max_iters=n)\n",
    "half replaced": "_base_ = 'base.py'\nrunner = dict(type='EpochBasedRunner', max_epochs=5)\n",
}
FINE = {
    "mmdet 2": "total_epochs = 12\ntrain_cfg = dict(rpn=dict(allowed_border=0), rcnn=dict(pos_weight=-1))\n",
    "a runner of epochs": "runner = dict(type='EpochBasedRunner', max_epochs=6)\ntotal_iters = 7\n",
    "one that replaces it": (
        "_base_ = 'base.py'\nrunner = dict(_delete_=True, type='EpochBasedRunner', max_epochs=5)\n"
    ),
    "no limit": "runner = dict(type='EpochBasedRunner', max_epochs=6, max_iters=None)\n",
    "a wrapper beside a runner": "total_epochs = 6\noptim_wrapper = dict()\n",
    "code alone": "runner = make_runner()\n",
}


def sentences(checkout: Path, text: str, **options: Option) -> list[str]:
    (checkout / "base.py").write_text(BY_ITERATION["a runner"])
    (checkout / "a.py").write_text(text)
    request = LaunchRequest(
        root=str(checkout),
        interpreter="python",
        launch_module="torch.distributed.run",
        entry="train.py",
        config="a.py",
        work_dir="work",
        nproc_per_node=2,
        nodes=1,
        rung=RUNGS["gloo"],
        master_port=None,
        epochs=2,
    )
    config = MMCV.read_config(checkout, "a.py")
    assert config.problem is None
    named = {key.replace("__", "."): value for key, value in options.items()}
    return [*MMCV.unsupported(replace(request, trainer_config=config, options=named))]


@pytest.mark.parametrize("name", MMENGINE)
def test_a_config_of_mmengine_is_called_that(tmp_path: Path, name: str) -> None:
    (said,) = sentences(tmp_path, MMENGINE[name])
    assert said.startswith("a.py is a config of mmengine (")


@pytest.mark.parametrize("name", BY_ITERATION)
def test_a_runner_that_counts_iterations_is_refused(tmp_path: Path, name: str) -> None:
    (said,) = sentences(tmp_path, BY_ITERATION[name])
    both = name == "half replaced"
    assert said.startswith(
        "a.py counts epochs and iterations at once (" if both else "a.py counts iterations ("
    )


@pytest.mark.parametrize("name", FINE)
def test_what_counts_epochs_with_mmcv_is_not_refused(tmp_path: Path, name: str) -> None:
    assert sentences(tmp_path, FINE[name]) == []


def test_an_option_that_counts_iterations_is_refused_too(tmp_path: Path) -> None:
    assert sentences(tmp_path, FINE["a runner of epochs"], runner__max_iters=7) != []
