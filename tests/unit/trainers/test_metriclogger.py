"""Kind metriclogger: a script's arguments, command lines held against golden files, checkpoints, progress."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from support.attempts import an_attempt
from trainrelay.checkpoint import sources
from trainrelay.checkpoint.inspection import examine
from trainrelay.config import Config, parse
from trainrelay.errors import UserError
from trainrelay.records import EpochBases
from trainrelay.trainers import RUNGS, TRAINERS, LaunchRequest, StepSeen, Switch, TrainerConfig
from trainrelay.trainers.argparse_config import read_arguments
from trainrelay.training.context import StageContext
from trainrelay.training.request import launch_request
from trainrelay.training.signature import ingredients
from trainrelay.training.state import epoch_bases

GOLDEN = Path(__file__).parents[1] / "golden"
KIND = TRAINERS["metriclogger"]
# A training script as DETR's family writes them; running it would end the tests.
SCRIPT = """
raise SystemExit("this file is read, never run")
def get_args_parser():
    parser = argparse.ArgumentParser("keypoints", add_help=False)
    parser.add_argument("--lr", default=1e-4, type=float)
    parser.add_argument("--batch_size", default=2, type=int)
    parser.add_argument("--lr_backbone_names", default=["backbone.0"], type=str, nargs="+")
    parser.add_argument("--no_aux_loss", dest="aux_loss", action="store_false")
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--weight-decay", "--wd", default=1e-4, type=float)
    parser.add_argument("--root", default=os.environ["HOME"])
    parser.add_argument("-q", action="store_true")
    parser.add_argument("--backbone", default="resnet50", choices=["resnet50", "resnet101"])
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--epochs", default=300, type=int)
    parser.add_argument("--output_dir", default="")
    parser.add_argument("--resume", default="")
    parser.add_argument("--start_epoch", default=0, type=int)
    parser.add_argument("--seed", default=42, type=int)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dist_backend", default="nccl")
    parser.add_argument("--finetune", default="")
    return parser
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(SCRIPT)
    return tmp_path


def facts_of(checkout: Path) -> TrainerConfig:
    return read_arguments(checkout, "main.py")


def config_of(checkout: Path, **stage: Any) -> Config:
    how = {"kind": "metriclogger", "root": str(checkout), "entry": "main.py", "device": "cpu"}
    first = {"config": "main.py", "epochs": 50, "backends": ["gloo"], **stage}
    second = {"config": "main.py", "epochs": 10, "backends": ["gloo"], "init_from": "train"}
    return parse(
        {"runs": {"k": {"trainer": {**how, "nproc_per_node": 2}, "stages": {"train": first, "next": second}}}}
    )


def request_of(checkout: Path, **changes: Any) -> LaunchRequest:
    request = LaunchRequest(
        root="/data/keypoints",
        interpreter="python",
        launch_module="torch.distributed.run",
        entry="main.py",
        config="main.py",
        work_dir="runs/keypoints/train/work_dir",
        nproc_per_node=8,
        nodes=1,
        rung=RUNGS["gloo"],
        master_port=29511,
        epochs=50,
        options={"lr": 2e-4, "batch_size": 4},
        trainer_config=facts_of(checkout),
    )
    return replace(request, **changes)


# ------------------------------------------------------------------------------- arguments


def test_a_script_is_read_and_not_run(checkout: Path) -> None:
    facts = facts_of(checkout)
    assert facts.problem is None
    assert facts.settings["config: lr"] == "0.0001"
    assert facts.settings["config: root"] == "os.environ['HOME']"
    assert facts.settings["config: q"] == "False"
    assert facts.settings["config: aux_loss"] == "True"
    assert facts.literals["lr_backbone_names"] == ["backbone.0"]
    assert "root" not in facts.literals
    assert "inputs" not in facts.switches
    assert facts.switches["weight_decay"] == Switch("--weight-decay", type="float")
    assert facts.switches["aux_loss"] == Switch("--no_aux_loss", False)
    assert facts.switches["lr_backbone_names"] == Switch("--lr_backbone_names", many=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("def (", "syntax"), ("x = 1\n", "declares no argument"), ("\0", "null")],
)
def test_a_script_that_cannot_be_read_is_a_problem_in_words(
    tmp_path: Path, text: str | None, words: str
) -> None:
    if text is not None:
        (tmp_path / "main.py").write_text(text)
    problem = read_arguments(tmp_path, "main.py").problem
    assert problem is not None
    assert words in problem


def test_a_changed_default_changes_what_the_training_is_and_a_comment_does_not(checkout: Path) -> None:
    before = ingredients(StageContext(config_of(checkout), "k", "train"))
    (checkout / "main.py").write_text(SCRIPT.replace("parser = ", "parser =  # the arguments\\\n    ", 0))
    assert ingredients(StageContext(config_of(checkout), "k", "train")) == before
    (checkout / "main.py").write_text(
        f"# a comment\n{SCRIPT}".replace("default=1e-4, type=float", "default=2e-4")
    )
    after = ingredients(StageContext(config_of(checkout), "k", "train"))
    assert {key for key in after if after[key] != before[key]} == {"config: lr", "config: weight_decay"}


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.0001},
        {"lr": "1e-4"},
        {"weight_decay": "0.0001"},
        {"weight_decay": 1e-4},
        {"batch_size": "2"},
        {"masks": False},
        {"no_aux_loss": False},
        {"aux_loss": True},
        {"finetune": None},
        {"lr_backbone_names": ["backbone.0"]},
    ],
)
def test_an_option_that_says_what_the_script_says_changes_nothing(
    checkout: Path, options: dict[str, Any]
) -> None:
    assert ingredients(StageContext(config_of(checkout, options=options), "k", "train")) == ingredients(
        StageContext(config_of(checkout), "k", "train")
    )


def test_two_texts_are_two_settings_though_they_are_one_number(checkout: Path) -> None:
    first, second = (
        ingredients(StageContext(config_of(checkout, options={"backbone": value}), "k", "train"))[
            "config: backbone"
        ]
        for value in ("1.10", "1.1")
    )
    assert (first, second) == ("1.10", "1.1")


def test_the_scripts_own_seed_is_the_stages_seed(checkout: Path) -> None:
    silent, said = config_of(checkout), config_of(checkout, seed=42)
    assert ingredients(StageContext(silent, "k", "train")) == ingredients(StageContext(said, "k", "train"))
    assert ingredients(StageContext(config_of(checkout, seed=43), "k", "train"))["seed"] == "43"


@pytest.mark.parametrize("key", ["output_dir", "resume", "epochs", "start_epoch", "dist_backend", "finetune"])
def test_what_leaves_the_weights_alone_is_not_in_the_identity(checkout: Path, key: str) -> None:
    assert f"config: {key}" not in ingredients(StageContext(config_of(checkout), "k", "train"))


def test_an_option_stands_over_the_scripts_default(checkout: Path) -> None:
    config = config_of(checkout, options={"finetune": "weights.pth", "lr": 0.5})
    facts = StageContext(config, "k", "train").trainer_config
    assert facts.literals["lr"] == 0.5
    assert KIND.config_initial_checkpoint(facts) == "weights.pth"


# ------------------------------------------------------------------------------- command lines


def launched(request: LaunchRequest) -> str:
    launch = KIND.launch(request, {})
    return (
        json.dumps({"cwd": launch.cwd, "env": dict(launch.env), "argv": list(launch.argv)}, indent=2) + "\n"
    )


CHANGES: dict[str, dict[str, Any]] = {
    "start": {},
    "resume": {"resume_from": "runs/keypoints/train/work_dir/checkpoint0004.pth"},
    "automatic_port": {"master_port": 40123},
    "no_port": {"master_port": None},
    "nccl_on_gpus": {"rung": RUNGS["nccl-no-p2p"]},
    "cpu_and_seed": {"device": "cpu", "seed": 7},
    "old_launcher": {"launch_module": "torch.distributed.launch"},
    "from_another_stage": {"load_from": "../stage 1/checkpoint.pth", "epochs": 300},
    "every_spelling": {
        "options": {
            "aux_loss": False,
            "masks": True,
            "lr_backbone_names": ["a b", "c"],
            "weight_decay": -1,
            "q": True,
        }
    },
    "unreadable_script": {
        "trainer_config": TrainerConfig(problem="main.py: No such file"),
        "options": {"x_y": 1, "z": True},
    },
    "nasty_paths": {
        "root": "/data/my models/ü'; rm -rf $HOME",
        "work_dir": "a b/$(x)",
        "interpreter": "/opt/py 3/py",
    },
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_start_is_the_argv_list_of_its_golden_file(checkout: Path, name: str) -> None:
    golden = (GOLDEN / f"metriclogger_{name}.json").read_text()
    assert launched(request_of(checkout, **CHANGES[name])).splitlines() == golden.splitlines()


def test_the_scripts_own_parser_takes_the_command_line(checkout: Path) -> None:
    """What the script's argparse makes of our words is what was meant."""
    request = request_of(checkout, **{**CHANGES["every_spelling"], "seed": 7, "resume_from": "a b.pth"})
    argv = KIND.launch(request, {}).argv
    body = SCRIPT.replace('raise SystemExit("this file is read, never run")', "import argparse, os")
    scope: dict[str, Any] = {}
    exec(body, scope)
    parsed: argparse.Namespace = scope["get_args_parser"]().parse_args(argv[argv.index("main.py") + 1 :])
    said = vars(parsed)
    wanted = {"aux_loss": False, "masks": True, "q": True, "weight_decay": -1.0, "seed": 7, "epochs": 50}
    assert {key: said[key] for key in wanted} == wanted
    assert said["lr_backbone_names"] == ["a b", "c"]
    assert (said["resume"], said["dist_backend"], said["output_dir"]) == ("a b.pth", "gloo", request.work_dir)


def test_the_request_of_a_config_tells_cpu_backend_and_the_earlier_stage(checkout: Path) -> None:
    config = config_of(checkout)
    request = replace(launch_request(StageContext(config, "k", "next")), load_from="ckpts/a.pth")
    argv = list(KIND.launch(request, {}).argv)
    assert argv[argv.index("--device") + 1] == "cpu"
    assert argv[argv.index("--dist_backend") + 1] == "gloo"
    assert argv[argv.index("--finetune") + 1] == str(checkout / "ckpts/a.pth")


# ------------------------------------------------------------------------------- what cannot be said


def unsupported(request: LaunchRequest) -> list[str]:
    return list(KIND.unsupported(request))


@pytest.mark.parametrize(
    ("script", "changes", "words"),
    [
        (SCRIPT, {"options": {"lrr": 1}}, "options.lrr: main.py declares no such argument; did you mean lr?"),
        (SCRIPT, {"options": {"masks": 3}}, "--masks is a switch: use true or false"),
        (SCRIPT, {"options": {"lr": True}}, "--lr takes a value"),
        (SCRIPT, {"options": {"lr": [1, 2]}}, "--lr takes one value"),
        (
            SCRIPT,
            {"options": {"batch_size": "four"}},
            "options.batch_size: got 'four'; --batch_size takes a whole",
        ),
        (SCRIPT, {"options": {"batch_size": 4.5}}, "--batch_size takes a whole number"),
        (SCRIPT, {"options": {"lr": "fast"}}, "options.lr: got 'fast'; --lr takes a number"),
        (SCRIPT, {"options": {"backbone": "vgg"}}, "--backbone allows: resnet50, resnet101"),
        (
            SCRIPT.replace("--device", "--x"),
            {"device": "cpu"},
            "declares no --device, so it cannot train on",
        ),
        (
            SCRIPT.replace("--dist_backend", "--x"),
            {},
            "declares no --dist_backend, so it cannot use gloo",
        ),
        (SCRIPT.replace("--resume", "--x"), {}, "declares no --resume, which kind metriclogger needs"),
        (
            SCRIPT.replace("--finetune", "--x"),
            {"load_from": "a.pth"},
            "so it cannot start from another stage",
        ),
        (SCRIPT.replace("--seed", "--x"), {"seed": 1}, "declares no --seed; leave the stage's seed out"),
        (SCRIPT.replace('start_epoch", default=0', 'start_epoch", default=5'), {}, "starts at epoch 5"),
    ],
)
def test_what_the_script_cannot_be_told_is_a_sentence(
    checkout: Path, script: str, changes: dict[str, Any], words: str
) -> None:
    (checkout / "main.py").write_text(script)
    sentences = unsupported(request_of(checkout, **changes))
    assert len(sentences) == 1
    assert words in sentences[0]


def test_a_script_that_always_uses_nccl_gets_one_answer_on_each_device(checkout: Path) -> None:
    """nccl is advised only where the config allows it: it needs GPUs."""
    (checkout / "main.py").write_text(SCRIPT.replace("--dist_backend", "--x"))
    with pytest.raises(UserError, match=r"nccl needs GPUs, and device is cpu; write: backends: \[gloo\]"):
        config_of(checkout, backends=["nccl"])
    (on_cpu,) = unsupported(request_of(checkout, device="cpu"))
    (on_gpus,) = unsupported(request_of(checkout))
    assert on_cpu.endswith("cannot use gloo; declare it and give it to init_process_group")
    assert on_gpus == f"{on_cpu}, or set backends: [nccl]"


def test_one_rank_needs_no_backend_to_be_named(checkout: Path) -> None:
    (checkout / "main.py").write_text(SCRIPT.replace("--dist_backend", "--x"))
    assert unsupported(request_of(checkout, nproc_per_node=1)) == []
    assert unsupported(request_of(checkout, nproc_per_node=1, nodes=2)) != []


def test_a_segmentation_head_starts_from_detrs_boxes(checkout: Path) -> None:
    """DETR's second stage keeps them frozen, and must be told so when it resumes, too."""
    (checkout / "main.py").write_text(SCRIPT.replace("--finetune", "--frozen_weights"))
    request = request_of(checkout, load_from="/boxes/checkpoint.pth", resume_from="/w/checkpoint.pth")
    argv = list(KIND.launch(request, {}).argv)
    assert unsupported(request) == []
    assert argv[argv.index("--frozen_weights") + 1] == "/boxes/checkpoint.pth"
    assert argv[argv.index("--resume") + 1] == "/w/checkpoint.pth"


def test_one_rank_on_a_cpu_starts_without_a_launcher(checkout: Path) -> None:
    """Where the script cannot be told another backend than NCCL: RANK would make it ask for a GPU."""
    declared = launched(request_of(checkout, nproc_per_node=1, device="cpu"))
    (checkout / "main.py").write_text(SCRIPT.replace("--dist_backend", "--x"))
    alone = KIND.launch(request_of(checkout, nproc_per_node=1, device="cpu"), {})
    assert alone.argv[:3] == ("python", "-u", "main.py")
    assert alone.env["TRAINRELAY_ONE_RANK"] == "1"
    on_a_gpu = launched(request_of(checkout, nproc_per_node=1))
    for other in (declared, on_a_gpu):
        assert "torch.distributed.run" in other
        assert "ONE_RANK" not in other


@pytest.mark.parametrize("first", [0, 1, None])
def test_a_script_may_count_epochs_from_0_or_from_1(checkout: Path, first: int | None) -> None:
    (checkout / "main.py").write_text(
        SCRIPT.replace('start_epoch", default=0', f'start_epoch", default={first}')
    )
    assert unsupported(request_of(checkout)) == []


def test_a_plain_start_can_be_said_and_an_unreadable_script_is_not_judged(checkout: Path) -> None:
    assert unsupported(request_of(checkout)) == []
    assert (
        unsupported(request_of(checkout, trainer_config=TrainerConfig(problem="gone"), options={"lrr": 1}))
        == []
    )


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (
            {"options": {"resume": "x.pth"}},
            "stages.train.options.resume: not as an option; leave it out: trainrelay resumes by itself",
        ),
        ({"options": {"epochs": 3}}, "stages.train.options.epochs: not as an option; set the stage's epochs"),
        (
            {"options": {"output-dir": "x"}},
            "stages.train.options.output-dir: write it as output_dir, the name",
        ),
        ({"deterministic": True}, "stages.train.deterministic: kind metriclogger has no switch for it"),
        ({"validate": False}, "stages.train.validate: kind metriclogger has no switch for it"),
    ],
)
def test_what_the_config_may_not_say_is_refused_with_its_place(
    checkout: Path, stage: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match="runs.k." + words.replace("[", r"\[")):
        config_of(checkout, **stage)


def test_a_checkpoint_named_twice_is_refused(checkout: Path) -> None:
    data = config_of(checkout).model_dump(by_alias=True, mode="json")
    data["runs"]["k"]["stages"]["next"]["options"] = {"finetune": "x.pth"}
    with pytest.raises(UserError, match=r"options\.finetune: not beside init_from: train"):
        parse(data)


# ------------------------------------------------------------------------------- progress

STEP = (
    "Epoch: [4]  [  10/1458]  eta: 0:08:13  lr: 0.000100  grad_norm: 13.63  loss: 10.0258 (11.4481)"
    "  loss_ce: 0.6020 (0.8016)  time: 0.3410  data: 0.0766  max mem: 3887"
)


@pytest.mark.parametrize("line", [STEP, STEP.replace("  ", "\t"), f"[default0]:{STEP}"])
def test_a_progress_line_tells_epoch_iterations_done_and_loss(line: str) -> None:
    assert KIND.observe(line) == StepSeen(5, 11, 1458, 10.0258, None, 13.63)


@pytest.mark.parametrize(
    "line",
    [
        "Test:  [  0/156]  eta: 0:03:55  loss: 3.6938 (3.6938)",
        "Epoch: [0] Total time: 0:04:18 (0.1774 s / it)",
        "Averaged stats: lr: 0.000100  loss: 3.6713 (5.0981)",
        "",
    ],
)
def test_validation_and_other_lines_are_no_progress(line: str) -> None:
    assert KIND.observe(line) is None


# ------------------------------------------------------------------------------- checkpoints


def save(path: Path, epoch: int | None, weights: str = "model", optimizer: str = "optimizer") -> None:
    whole: dict[str, Any] = {
        weights: {"w": torch.ones(2)},
        optimizer: {"state": {}},
        "args": argparse.Namespace(lr=1e-4),
    }
    torch.save(whole if epoch is None else {**whole, "epoch": epoch}, path)


def listed(folder: Path, base: int = 0) -> list[tuple[int, str]]:
    return [(epoch, path.name) for epoch, path in KIND.checkpoints(folder, base)]


NAMES = [
    "checkpoint_epoch_3.pth",
    "checkpoint_e003_lr1e-04_bs2.pth",
    "checkpoint.pth.tar",
    "checkpoint-3.pth.tar",
    "net_ep003.pt",
    "checkpoint_0003.pth.tar",
    "model_best.pth.tar",
    "last.CKPT",
]


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_are_recognised_by_content_and_count_finished_epochs(tmp_path: Path, name: str) -> None:
    save(tmp_path / name, 7)
    assert (listed(tmp_path), listed(tmp_path, 1)) == ([(7, name)], [(8, name)])
    assert KIND.left_behind(tmp_path) == [name]
    assert KIND.unrecognised(tmp_path) == []


@pytest.mark.parametrize(
    "weights", ["model", "state_dict", "model_state", "model_state_dict", "net", "module"]
)
@pytest.mark.parametrize("optimizer", ["optimizer", "optimizer_state", "optimizer_state_dict", "optim"])
def test_weights_and_optimizer_are_found_under_the_names_that_trainers_use(
    tmp_path: Path, weights: str, optimizer: str
) -> None:
    save(tmp_path / "x.pth", 2, weights, optimizer)
    assert listed(tmp_path, 1) == [(3, "x.pth")]
    assert not examine(tmp_path / "x.pth", 1).missing


def test_of_one_epoch_what_is_not_written_over_comes_first_then_the_newest(tmp_path: Path) -> None:
    for name, when_s in (("best.pth", 30), ("checkpoint.pth", 20), ("ep3.pth", 10), ("model_7.pth", 40)):
        save(tmp_path / name, 6 if name == "model_7.pth" else 9)
        os.utime(tmp_path / name, (when_s, when_s))
    (tmp_path / "checkpoint0011.pth").symlink_to("checkpoint.pth")
    found = ["ep3.pth", "checkpoint.pth", "best.pth", "model_7.pth"]
    assert listed(tmp_path) == list(zip([9, 9, 9, 6], found, strict=True))
    assert KIND.checkpoints(tmp_path / "none") == []
    assert KIND.checkpoint_path(tmp_path, 3).name == "checkpoint0002.pth"


def test_what_looks_like_a_checkpoint_and_is_none_is_named_with_why(tmp_path: Path) -> None:
    (tmp_path / "torn.pth").write_bytes(b"PK torn")
    (tmp_path / "w.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    torch.save({"encoder\x1b[2J": {"w": torch.ones(1)}, 7: 1, "epoch": 3}, tmp_path / "other.pt")
    save(tmp_path / "no_epoch.ckpt", None)
    torch.save({"w": torch.ones(1)}, tmp_path / "pretrained.pth")
    torch.save({"state_dict": {"w": torch.ones(1)}}, tmp_path / "export.pth")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval/latest.pth").touch()
    said = {path.name: why for path, why in KIND.unrecognised(tmp_path)}
    assert sorted(said) == ["no_epoch.ckpt", "other.pt", "torn.pth", "w.safetensors"]
    assert said["no_epoch.ckpt"] == "lacks epoch"
    assert "looked under state_dict, model, model_state" in said["other.pt"]
    assert said["other.pt"].endswith("its keys: encoder\\x1b[2J, int, epoch")
    assert "stopped while it was saving" in said["torn.pth"]
    assert listed(tmp_path) == []
    assert "w.safetensors" in KIND.left_behind(tmp_path)


def test_a_file_is_read_again_only_once_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    reading = sources.reading
    monkeypatch.setattr(sources, "reading", lambda path: opened.append(path) or reading(path))
    save(tmp_path / "checkpoint.pth", 1)
    assert [listed(tmp_path) for _ in range(3)] == [[(1, "checkpoint.pth")]] * 3
    assert len(opened) == 1
    save(tmp_path / "checkpoint.pth", 2)
    os.utime(tmp_path / "checkpoint.pth", ns=(1, 1))
    assert listed(tmp_path) == [(2, "checkpoint.pth")]
    assert len(opened) == 2


# ------------------------------------------------------------------------------- how epochs are counted


def counted_config(checkout: Path, **trainer: Any) -> Config:
    data = config_of(checkout).model_dump(by_alias=True, mode="json")
    data["runs"]["k"]["trainer"].update(trainer)
    return parse(data)


def test_the_config_says_how_epochs_count_else_the_newest_attempt_else_nobody_knows(checkout: Path) -> None:
    first = an_attempt(1, epoch_bases=EpochBases(printed=0, saved=1))
    second = an_attempt(2, epoch_bases=EpochBases(printed=1, saved=0))
    config = counted_config(checkout)
    assert epoch_bases(StageContext(config, "k", "train"), ()) == EpochBases()
    assert epoch_bases(StageContext(config, "k", "train"), (first, second)) == EpochBases(printed=1, saved=0)
    told = counted_config(checkout, epoch_base=1)
    assert epoch_bases(StageContext(told, "k", "train"), (first, second)) == EpochBases(printed=1, saved=1)
    assert ingredients(StageContext(told, "k", "train")) == ingredients(StageContext(config, "k", "train"))


def test_kind_mmcv_counts_in_one_way_and_refuses_another(checkout: Path) -> None:
    mmcv = counted_config(checkout, kind="mmcv")
    assert epoch_bases(StageContext(mmcv, "k", "train"), (an_attempt(1),)) == EpochBases(printed=0, saved=0)
    with pytest.raises(UserError, match=r"runs\.k\.trainer\.epoch_base: kind mmcv needs none"):
        counted_config(checkout, kind="mmcv", epoch_base=0)


def test_a_step_is_shown_with_its_epoch_counted_from_1() -> None:
    step = KIND.observe(STEP)
    assert isinstance(step, StepSeen)
    assert step.counted(EpochBases(printed=1)).epoch == 4
    assert step.counted(EpochBases(printed=0)) == step.counted(EpochBases()) == step
