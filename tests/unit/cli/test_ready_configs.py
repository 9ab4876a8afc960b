"""The configs of `trainrelay init` plan against checkouts that declare what their trainers do (stand-ins)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainrelay.cli import main
from trainrelay.packaged import templates

HEAD = 'import argparse\np = argparse.ArgumentParser()\np.add_argument("--epochs", default=7, type=int)\n'
MMCV = "optimizer = dict(type='SGD', lr=0.1)\nrunner = dict(type='EpochBasedRunner', max_epochs=1)\n"
MMENGINE = "optim_wrapper = dict(optimizer=dict(lr=0.1))\ntrain_cfg = dict(by_epoch=True, max_epochs=1)\n"
LAUNCHED = "--nproc_per_node=8"


def script(*names: str, switches: str = "") -> str:
    """A file that declares these arguments; running it would end the tests."""
    declared = [f"p.add_argument({name!r}, default='')\n" for name in names]
    declared += [f"p.add_argument({name!r}, action='store_true')\n" for name in switches.split()]
    return HEAD + "".join(declared) + "args = p.parse_args()\nraise SystemExit('read, never run')\n"


FAMILY = ("--output_dir", "--device", "--resume", "--seed", "--batch_size")
MAE = ("--data_path", "--model")
DETR = ("--lr_drop", "--dataset_file", "--coco_path", "--coco_panoptic_path", "--frozen_weights")
CAPE = ("--dataset_root", "--cls_loss_coef", "--early_stopping_patience")
TRACKED = ("./projects/configs/stage1_track_map/{}.py", "./projects/configs/stage2_e2e/{}.py")

# By template: the files of its checkout, and for each stage words of its command, in order.
CASES: dict[str, tuple[dict[str, str], dict[str, list[str]]]] = {
    "nanogpt": (
        {"train.py": "x = 1\n", "config/train_shakespeare_char.py": "out_dir = 'out'\n"},
        {"shakespeare": ["train.py", "--max_iters=5000", "--always_save_checkpoint=True"]},
    ),
    "imagenet": (
        {"main.py": script("--arch", "--resume", "--dist-backend", "--batch-size")},
        {"base": ["--epochs", "90", "--arch"], "tuned": ["100", "--resume", "--batch-size", "128"]},
    ),
    "mae": (
        {
            "main_pretrain.py": script(*FAMILY, *MAE),
            "main_finetune.py": script(*FAMILY, *MAE, "--finetune"),
        },
        {
            "pretrain": [LAUNCHED, "main_pretrain.py"],
            "finetune": [LAUNCHED, "main_finetune.py", "--finetune"],
        },
    ),
    "cape": (
        {"models/train_cape_episodic.py": script(*FAMILY, *CAPE)},
        {"pose": ["models/train_cape_episodic.py", "--epochs", "300", "--early_stopping_patience"]},
    ),
    "detr": (
        {"main.py": script(*FAMILY, *DETR, switches="--masks")},
        {"detection": [LAUNCHED, "./main.py"], "masks": ["./main.py", "--frozen_weights", "--masks"]},
    ),
    "keypoints": (
        {"main.py": script(*FAMILY, "--dist_backend", "--lr")},
        {"pose": [LAUNCHED, "./main.py", "--lr", "--batch_size"]},
    ),
    "uniad": (
        {
            "tools/train.py": script("--local_rank"),
            **{
                path.format("full_" + name): MMCV
                for path, name in zip(TRACKED, ("track_map", "e2e"), strict=True)
            },
        },
        {"stage1": ["torch.distributed.launch", LAUNCHED], "stage2": ["load_from=ckpts/full_track_map.pth"]},
    ),
    "uniad-v2": (
        {
            "tools/train.py": script("--launcher"),
            **{
                path.format("base_" + name): MMCV
                for path, name in zip(TRACKED, ("track_map", "e2e"), strict=True)
            },
        },
        {
            "stage1": ["torch.distributed.run", LAUNCHED, "--launcher"],
            "stage2": ["--launcher", "load_from=ckpts/base_track_map.pth"],
        },
    ),
    "mmengine": (
        {
            "tools/train.py": script("--resume", "--launcher"),
            "configs/retinanet/retinanet_r50_fpn_1x_coco.py": MMENGINE,
            "configs/mine/finetuned.py": MMENGINE,
        },
        {"detector": [LAUNCHED, "./tools/train.py"], "finetuned": ["load_from=ckpts/detector.pth"]},
    ),
    "script": (
        {"train.py": script("--out", "--init", "--dist-backend", "--lr", "--resume")},
        {"one": ["train.py", "--epochs", "3"], "two": ["--epochs", "2", "--init", "--lr"]},
    ),
}


@pytest.mark.parametrize("name", templates())
def test_a_ready_config_is_planned(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is refused, and each stage's command has what its trainer needs."""
    files, stages = CASES[name]
    for path, text in files.items():
        (tmp_path / "checkout" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "checkout" / path).write_text(text)
    monkeypatch.chdir(tmp_path)
    # A Python of which nothing is known: what that of the tests has is not what each trainer needs.
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{python.parent}:/usr/bin:/bin")
    text = templates()[name].read_text()
    lines = ["      root: ./checkout" if one.startswith("      root: ") else one for one in text.splitlines()]
    Path("config.yaml").write_text("\n".join(lines).replace("/path/to/its/python", "python"))
    capsys.readouterr()
    assert main(["plan", "--json"]) == 0
    plans = {plan["stage"]: plan for plan in json.loads(capsys.readouterr().out)}
    assert {stage: plan["refused"] for stage, plan in plans.items()} == {stage: [] for stage in stages}
    for stage, words in stages.items():
        argv = iter(plans[stage]["argv"])
        assert [word for word in words if word not in argv] == []
