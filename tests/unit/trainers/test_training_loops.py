"""What a script of DETR's family says outside of its arguments: which script it is, how often it saves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trainrelay.trainers import RUNGS, TRAINERS, LaunchRequest, Option
from trainrelay.trainers.argparse_config import read_arguments

KIND = TRAINERS["metriclogger"]
ARGUMENTS = """
import argparse
def get_args_parser():
    parser = argparse.ArgumentParser("training", add_help=False)
    parser.add_argument("--epochs", default=400, type=int)
    parser.add_argument("--output_dir", default="")
    parser.add_argument("--resume", default="")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--save_freq", default=5, type=int)
    return parser
"""
LOOP = """
def save_all(args):
    torch.save(args)
def main(args):
    for epoch in range(args.start_epoch, args.epochs):
        train_one_epoch(model, epoch)
"""
# Indented as the body of the loop.
SAVES = {
    # As MAE's pre-training.
    "every 20th": (
        "if args.output_dir and (epoch % 20 == 0 or epoch + 1 == args.epochs):\n    misc.save_model(args)",
        20,
    ),
    "by an argument": ("if (epoch + 1) % args.save_freq == 0:\n    save_checkpoint(epoch)", 5),
    "by a config": ("if epoch % config.SAVE_FREQ == 0:\n    save_checkpoint(epoch)", None),
    "by another variable": ("if epoch % frequency == 0:\n    torch.save(state, path)", None),
    # As DETR's: what is saved beside has its own name.
    "each, and more names": (
        "if args.output_dir:\n    paths = ['checkpoint.pth']\n    if (epoch + 1) % 100 == 0:\n"
        "        paths.append(f'checkpoint{epoch}.pth')\n    for path in paths:\n"
        "        utils.save_on_master(model, path)",
        1,
    ),
    "the best, too": ("if epoch % 10 == 0:\n    torch.save(a, c)\nif best:\n    torch.save(a, d)", None),
    "twice": ("if epoch % 10 == 0:\n    torch.save(a, c)\nif epoch % 4 == 0:\n    torch.save(a, d)", None),
    "images alone": ("save_image(a, 'a.png')\nnp.save('b', b)\nplt.savefig('c')", None),
    "elsewhere": ("engine.finish(epoch)", None),
}


def script(saves: str = "torch.save(a, b)") -> str:
    return ARGUMENTS + LOOP + "".join(f"        {line}\n" for line in saves.splitlines())


@pytest.mark.parametrize("name", SAVES)
def test_how_often_a_script_saves_is_read_or_unknown(tmp_path: Path, name: str) -> None:
    saves, every = SAVES[name]
    (tmp_path / "main.py").write_text(script(saves))
    assert KIND.checkpoint_interval(read_arguments(tmp_path, "main.py"), {}) == every


def test_an_option_sets_how_often_a_script_saves(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(script(SAVES["by an argument"][0]))
    config = read_arguments(tmp_path, "main.py")
    given: list[Option] = [2, "3", 0, "x"]
    found = [KIND.checkpoint_interval(config, {"save_freq": value}) for value in given]
    assert found == [2, 3, None, None]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ('"--sched", default="cosine"', "cosine"),
        ('"--sched", default="step"', None),
        ('"--lr_drop", default=200', None),
        ('"--other"', "perhaps its schedule, which no argument names,"),
    ],
)
def test_a_schedule_over_all_epochs_is_named_or_said_to_be_unknown(
    tmp_path: Path, argument: str, expected: str | None
) -> None:
    (tmp_path / "main.py").write_text(script().replace('"--save_freq", default=5, type=int', argument))
    assert KIND.schedule_over_all_epochs(read_arguments(tmp_path, "main.py")) == expected


def refused(checkout: Path, entry: str, config: str) -> list[str]:
    request = LaunchRequest(
        root=str(checkout),
        interpreter="python",
        launch_module="torch.distributed.run",
        entry=entry,
        config=config,
        work_dir="work",
        nproc_per_node=1,
        nodes=1,
        rung=RUNGS["gloo"],
        master_port=None,
        epochs=2,
    )
    return list(KIND.unsupported(replace(request, trainer_config=read_arguments(checkout, config))))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As MAE's, with a link, a module that declares arguments and one that only passes them on."""
    for name in ("main_pretrain.py", "main_finetune.py", "options/base.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(script())
    (tmp_path / "options/__init__.py").write_text("from options.base import get_args_parser\n")
    (tmp_path / "link.py").symlink_to("main_pretrain.py")
    (tmp_path / "imports.py").write_text(
        "from options import get_args_parser\nget_args_parser().parse_args()\n"
    )
    (tmp_path / "shim.py").write_text("import os, runpy\nrunpy.run_path(os.environ['SCRIPT'])\n")
    (tmp_path / "names.py").write_text("import runpy\nrunpy.run_path('main_finetune.py')\n")
    return tmp_path


def test_the_arguments_of_another_script_than_the_entry_are_refused(checkout: Path) -> None:
    (said,) = refused(checkout, "main_pretrain.py", "./main_finetune.py")
    assert said == (
        "./main_finetune.py is another script than the trainer's entry main_pretrain.py, which would be"
        " started; give the stage its own: trainer: {entry: ./main_finetune.py}"
    )
    assert refused(checkout, "main_pretrain.py", "options/base.py") != []


@pytest.mark.parametrize(
    ("entry", "config"),
    [
        ("main_pretrain.py", "./main_pretrain.py"),
        ("./link.py", "main_pretrain.py"),
        ("imports.py", "options/base.py"),
        ("imports.py", "options/__init__.py"),
        ("shim.py", "main_pretrain.py"),
        ("names.py", "main_finetune.py"),
        ("gone.py", "main_pretrain.py"),
    ],
)
def test_what_the_entry_imports_names_or_may_run_is_not_refused(
    checkout: Path, entry: str, config: str
) -> None:
    assert refused(checkout, entry, config) == []
