"""Kind script: command lines held against golden files, identity, checkpoints, what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trainrelay.checkpoint import newest_valid
from trainrelay.trainers import (
    RUNGS,
    TRAINERS,
    Follower,
    LaunchRequest,
    ScriptSettings,
    StepSeen,
    Trainer,
    misplaced_checkpoints,
    node,
)
from trainrelay.training.work_dirs import WorkDirs

GOLDEN = Path(__file__).parents[1] / "golden"
OWN = {
    "command": "{launcher} {entry} {config} --out {work_dir} --epochs {epochs} --seed {seed}",
    "init": "--init {init_checkpoint}",
    "backend": "--dist-backend {backend}",
}
ADDRESS = "tcp://{master_addr}:{master_port}"
RANKS = f"{{entry}} -n {{nproc}} -m {{nodes}} -r {{node_rank}} -u {ADDRESS} -d {{device}} -b {{backend}}"
REQUEST = LaunchRequest(
    root="/data/mine",
    interpreter="python",
    launch_module="torch.distributed.run",
    entry="tools/train.py",
    config="a.yaml",
    work_dir="runs/a b/work_dir",
    nproc_per_node=2,
    nodes=1,
    rung=RUNGS["gloo"],
    master_port=29511,
    epochs=50,
    seed=7,
    options={"lr": 2e-4, "sizes": [1, 2], "amp": True, "ema": False, "x": None, "tag": "-a b"},
)


def kind(entry: str = "tools/train.py", **script: Any) -> Trainer:
    return TRAINERS["script"].of(ScriptSettings(**{**OWN, **script}), entry)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "start": ({}, {}),
    "resume": ({}, {"resume_from": "/w/epoch 3.pt", "load_from": "ckpts/one.pt", "master_port": 40123}),
    "from_another_stage": ({"options": "{name}={value}"}, {"load_from": "../one.pt"}),
    "own_ranks": ({"command": "bash " + RANKS, "backend": "env B={backend}", "cwd_is_work_dir": True}, {}),
    "two_nodes": ({}, {"nodes": 2, "master_addr": "n1", "step_name": "trainrelay:r/s"}),
    "iterations": (
        {"command": "{launcher} {entry} {config} --out {work_dir} --max-iters {iters} --seed {seed}"},
        {"epochs": None, "iters": 500},
    ),
    "module": ({"command": OWN["command"].replace("{entry}", "-m {module}")}, {}),
    "own_ranks_two_nodes": ({"command": RANKS}, {"nodes": 2, "master_addr": "n1", "master_port": None}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_start_is_the_argv_list_of_its_golden_file(name: str) -> None:
    script, changes = CASES[name]
    launch = kind(**script).launch(replace(REQUEST, **changes), {})
    said = {"cwd": launch.cwd, "env": dict(launch.env), "argv": list(launch.argv)}
    text = json.dumps(said, indent=2).replace(str(Path(node.__file__)), "node.py") + "\n"
    assert text == (GOLDEN / f"script_{name}.json").read_text()


@pytest.mark.parametrize(
    ("command", "ranks", "alone"), [(RANKS, 1, True), (RANKS, 2, False), ("{launcher} {entry}", 1, False)]
)
def test_a_process_that_no_launcher_starts_is_told_that_it_is_the_one_rank(
    command: str, ranks: int, alone: bool
) -> None:
    env = kind(command=command).launch(replace(REQUEST, nproc_per_node=ranks), {}).env
    assert ("TRAINRELAY_ONE_RANK" in env) == alone


@pytest.mark.parametrize(("resume", "told"), [("-r {checkpoint}", True), ("--init_from=resume", False)])
def test_a_script_that_is_not_told_its_checkpoint_looks_for_it(resume: str, told: bool) -> None:
    assert kind(resume=resume).takes_checkpoint == told


def test_each_node_puts_its_number_into_a_whole_command() -> None:
    words = ["--whole", "bash", "run.sh", "-r", "{node_rank}", "tcp://n1:{node_rank}"]
    assert node.argv(words, "3") == ["bash", "run.sh", "-r", "3", "tcp://n1:3"]


@pytest.mark.parametrize(
    ("script", "changes", "wanted"),
    [
        ({}, {"seed": None}, "it has {seed}, and the stage none"),
        ({"command": "{launcher} {entry} {config}"}, {}, "it has no {seed}; add it"),
        (
            {"command": "{entry} {seed}"},
            {},
            "script.command does not use the stage's config a.yaml; add {config}",
        ),
        (
            {"command": "{launcher} {entry} {config} {iters} {seed}"},
            {},
            "script.command has {iters}, and the stage has epochs; write {epochs}",
        ),
        (
            {"checkpoints": "ckpt_{iter}.pt"},
            {},
            "script.checkpoints has {iter}, and the stage has epochs; write {epoch}",
        ),
        (
            {"progress": [r"(?P<epoch>\d+)"], "metrics": "m.csv"},
            {},
            "script.progress does nothing beside metrics, read in place of lines; leave one of them out",
        ),
        (
            {"progress": [r"(?P<iter>\d+): (?P<loss>\S+)"]},
            {},
            "script.progress has no group (?P<epoch>..), and the stage has epochs; add it",
        ),
        (
            {"command": "{launcher} -m {module} {config} {seed}"},
            {"entry": "../train.py"},
            "script.command has {module}, and ../train.py is no module below root",
        ),
        ({"init": None}, {"load_from": "a.pt"}, "no stage can start from another without script.init"),
        ({"command": "{entry} {config} {seed}"}, {"nodes": 2}, "needs {launcher} or {node_rank}"),
    ],
)
def test_what_the_section_does_not_say_is_refused(
    script: dict[str, Any], changes: dict[str, Any], wanted: str
) -> None:
    (said,) = kind(**script).unsupported(replace(REQUEST, **changes))
    assert wanted in said


def test_a_flag_that_the_script_certainly_does_not_declare_is_refused(tmp_path: Path) -> None:
    """Known are three; where a script may take others, nothing is known."""
    parser = "import argparse\np = argparse.ArgumentParser()\n"
    parser += "".join(f"p.add_argument('--{name}')\n" for name in ("lr", "epochs", "emsize"))
    (tmp_path / "a.py").write_text(parser + "args = p.parse_args()\n")
    trainer = kind("a.py", command="{launcher} {entry} --epochs {epochs}", options="--{name}={value}")
    request = replace(REQUEST, root=str(tmp_path), entry="a.py", config="a.py", seed=None, options={"lrr": 1})
    backend, flag, resume = trainer.unsupported(request)
    assert flag == "a.py declares no --lrr, which script.command or an option gives it; did you mean --lr?"
    assert backend.startswith("a.py declares no --dist-backend, which script.command")
    gives = 'which script.resume gives it when it resumes (if it cannot: resume: "")'
    assert resume == f"a.py declares no --resume, {gives}; it has --emsize, --epochs, --lr"
    (tmp_path / "a.py").write_text(f"{parser}p.add_argument('lrr')\nargs = p.parse_args()\n")
    assert "did you mean --lr?" in [*trainer.unsupported(request)][1], "what has no dashes is no flag"
    (tmp_path / "a.py").write_text(parser + "args = p.parse_known_args()\n")
    assert not list(trainer.unsupported(request))


def test_a_module_is_held_against_what_its_file_declares(tmp_path: Path) -> None:
    """What comes before it, the launcher's, is not."""
    (tmp_path / "a.py").write_text("import argparse\np = argparse.ArgumentParser()\nargs = p.parse_args()\n")
    trainer = kind("a.py", command="{launcher} -m {module} --lr 1", backend=None, resume="")
    request = replace(REQUEST, root=str(tmp_path), entry="a.py", config="a.py", seed=None, options={})
    (said,) = trainer.unsupported(request)
    assert said.startswith("a.py declares no --lr")


def begun_by(word: str, folder: Path, interpreter: str = sys.executable) -> tuple[list[str], list[str]]:
    """What keeps a command with this first word from a start, and what is worth knowing of it."""
    trainer = kind(command=f"{word} {{entry}} {{epochs}}")
    request = replace(REQUEST, root=str(folder), interpreter=interpreter)
    return [*trainer.start_problems(request, certain=True)], [*trainer.start_problems(request, certain=False)]


@pytest.mark.parametrize("word", ["tools/train.py", "./train.sh", "no-such-launcher"])
def test_a_command_that_begins_with_no_program_is_told_before_it_is_started(
    word: str, tmp_path: Path
) -> None:
    (tmp_path / "train.sh").write_text("#!/bin/sh\n")  # nobody made it executable
    (said,), _ = begun_by(word, tmp_path)
    assert said.startswith(f"script.command begins with {word}, which is no program that is found")
    assert "{interpreter}" in said


@pytest.mark.parametrize("word", ["{interpreter}", "{launcher}", "bash", "./train.sh", "env A=1 bash"])
def test_one_that_begins_with_a_program_is_not(word: str, tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("#!/bin/sh\n")
    (tmp_path / "train.sh").chmod(0o755)
    assert begun_by(word, tmp_path) == ([], [])


def test_a_program_is_looked_for_where_the_start_would_and_not_behind_a_prefix(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "mine").chmod(0o755)
    trainer = kind(command="mine {entry}")
    assert [*trainer.start_problems(REQUEST, certain=True)]
    for other in ({"env": {"PATH": str(tmp_path)}}, {"prefix": ("apptainer",)}, {"nodes": 2}):
        assert not [*trainer.start_problems(replace(REQUEST, **other), certain=True)]


def test_what_the_command_does_not_pass_on_is_remarked() -> None:
    """Else it trains as many epochs as its own config says, and saves where nobody looks."""
    trainer, own = kind(command="{interpreter} {entry} {config}"), "/data/runs/r/s/work_dir"
    lacks, unless = (
        "script.command has no",
        "unless the script's code, its config or an option says the same, it",
    )
    assert [*trainer.start_problems(replace(REQUEST, work_dir=own), certain=False)] == [
        f"{lacks} {{epochs}} (50): {unless} trains another number of epochs",
        f"{lacks} {{work_dir}} ({own}): {unless} saves where its checkpoints are not looked for",
    ]
    (said,) = trainer.start_problems(REQUEST, certain=False)
    assert "{work_dir}" not in said, "a work dir of the config is where the script saves by itself"
    here = kind(command="{interpreter} {entry} {epochs}", cwd_is_work_dir=True)
    assert not [*here.start_problems(replace(REQUEST, work_dir=own), certain=False)]


def test_a_python_that_is_not_the_interpreter_is_remarked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    _, (said,) = begun_by("python", tmp_path, "/env/bin/python")
    assert said == (
        "script.command begins with python, which is not trainer.interpreter /env/bin/python;"
        " begin it with {interpreter} or {launcher}"
    )
    assert begun_by("torchrun", tmp_path, "/env/bin/python")[1] == [], "there is none"
    (tmp_path / "python").rename(tmp_path / "torchrun")
    assert begun_by("torchrun", tmp_path, "/env/bin/python")[1]
    (tmp_path / "torchrun").rename(tmp_path / "python")
    for same in ("python", f"{tmp_path}/python", f"{tmp_path}/python3"):
        assert begun_by("python", tmp_path, same)[1] == []


@pytest.mark.parametrize(
    ("script", "name"),
    [({}, "tools/train.py"), ({"command": "{launcher} -m {module}"}, "tools.train")],
)
def test_its_processes_are_known_by_the_name_that_the_command_has(script: dict[str, Any], name: str) -> None:
    trainer = kind(**script)
    assert trainer.named(REQUEST) == name
    assert name in trainer.launch(REQUEST, {}).argv
    away = kind(**script, cwd_is_work_dir=True)
    assert away.named(REQUEST) in away.launch(REQUEST, {}).argv


def ingredients(root: Path, options: dict[str, Any] | None = None, **script: Any) -> dict[str, str]:
    trainer = kind("a.py", **{"command": "{launcher} {entry} {config} --aug=b.toml", **script})
    config = trainer.read_config(root, "a.yaml")
    assert config.problem is None, config.problem
    found = trainer.effective_settings(config, options or {})
    return {key: text for key, text in found.items() if trainer.changes_weights(key.removeprefix("option "))}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("print(1)  # a comment\n")
    (tmp_path / "a.yaml").write_text("lr: 0.1 # high\nmodel: {depth: 18, 3: x}\nnum_workers: 4\n")
    (tmp_path / "b.toml").write_text("[flip]\np = 0.5 # often\n")
    return tmp_path


def test_the_identity_is_the_arguments_the_script_and_its_files_without_comments(checkout: Path) -> None:
    before = ingredients(checkout, {"lr": 2e-4, "num-workers": 8})
    assert before.pop("entry").startswith("sha256 ")
    assert before == {
        "arguments": "'{config}' --aug=b.toml",
        "config: lr": "0.1",
        "config: model.depth": "18",
        "config: model.3": "'x'",
        "b.toml: flip.p": "0.5",
        "option lr": "0.0002",
    }
    whole = ingredients(checkout)
    (checkout / "a.py").write_text("# another\nprint( 1 )\n")
    (checkout / "a.yaml").write_text("model:\n  3: x\n  depth: 18\nlr: 0.1\nnum_workers: 9\n")
    assert ingredients(checkout, init=None, resume="-r {checkpoint}", progress=[r"(?P<epoch>\d)"]) == whole
    assert ingredients(checkout, command="{launcher} -m {module} {config} --aug=b.toml") == whole
    for file, text in {"a.py": "print(2)", "a.yaml": "lr: 0.2", "b.toml": "flip.p = 0.25"}.items():
        kept = (checkout / file).read_text()
        (checkout / file).write_text(text)
        assert ingredients(checkout) != whole, file
        (checkout / file).write_text(kept)
    assert ingredients(checkout, command="{launcher} {entry} {config} --aug=b.toml --x") != whole


def test_tags_in_yaml_count_with_their_values_and_nothing_is_made_of_them(checkout: Path) -> None:
    def says(text: str) -> dict[str, str]:
        (checkout / "a.yaml").write_text(text)
        return ingredients(checkout)

    text = "net: !new:nn.Linear\n  in: 8\nlr: !ref <base> # high\nsize: !!python/tuple [3, 4]\n"
    text += "num_workers: !ref <n>\n"
    first = says(text)
    assert first["config: lr"] == "'!ref <base>'"
    assert says(text.replace(" # high", "").replace("<n>", "<m>")) == first
    for one, other in (
        ("Linear", "Conv2d"),
        ("8", "9"),
        ("<base>", "<x>"),
        ("!ref <b", "!copy <b"),
        ("[3", "[2"),
    ):
        assert says(text.replace(one, other)) != first, one
    called = checkout / "called"
    assert says(f"a: !!python/object/apply:os.mkdir [{called}]\n")
    assert not called.exists()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.yaml", "a: ["),
        ("a.py", "def"),
        ("b.toml", "x"),
        ("a.yaml", "a: &a [*a]"),
        ("a.yaml", "a: &a !x [*a]"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem_in_one_sentence(
    checkout: Path, file: str, text: str
) -> None:
    (checkout / file).write_text(text)
    trainer = kind("a.py", command="{launcher} {entry} {config} --aug=b.toml")
    problem = trainer.read_config(checkout, "a.yaml").problem
    assert problem
    assert problem.startswith(file)


def save(path: Path, **more: Any) -> Path:
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict(), **more}, path)
    return path


def test_names_tell_the_epochs_where_the_section_says_so(tmp_path: Path) -> None:
    """The content's own count does not matter then; other names are no checkpoints of this training."""
    trainer = kind(checkpoints="m_{epoch}.p*")
    first, second = save(tmp_path / "m_01.pt"), save(tmp_path / "m_2.pth", epoch=17)
    best = save(tmp_path / "best.pt", epoch=9)
    assert trainer.checkpoints(tmp_path) == [(2, second), (1, first)]
    assert trainer.unrecognised(tmp_path) == []
    facts, skipped = newest_valid(trainer.checkpoints(tmp_path, 1), 1, saved_as=trainer.saved_as)
    assert facts
    assert (facts.file.path, facts.epoch, skipped) == (str(second), 3, [])
    assert trainer.checkpoint_path(tmp_path, 3).name == "checkpoint-of-epoch-3"
    from_0 = kind(checkpoints="m_{epoch}.pt").checkpoint_path(tmp_path, 3)
    assert from_0.name == "checkpoint-of-epoch-3"
    first.unlink()
    second.unlink()
    assert trainer.unrecognised(tmp_path) == [(best, "is not called m_{epoch}.p*")]
    assert kind().checkpoints(tmp_path) == [(9, best)]


def test_checkpoints_may_be_in_a_folder_below(tmp_path: Path) -> None:
    trainer = kind(checkpoints="out/weights/e{epoch}.pt")
    (tmp_path / "out/weights").mkdir(parents=True)
    found = save(tmp_path / "out/weights/e3.pt")
    save(tmp_path / "e4.pt")
    assert trainer.checkpoints(tmp_path) == [(3, found)]
    assert trainer.checkpoint_path(tmp_path, 5) == tmp_path / "out/weights/checkpoint-of-epoch-5"
    bare = tmp_path / "out/weights/best3.pt"
    torch.save({"model": torch.nn.Linear(1, 1).state_dict(), "epoch": 3}, bare)
    assert kind(checkpoints="out/weights/b*").saves_no_optimizer([bare])
    found.write_bytes(b"")
    assert not kind(checkpoints="out/weights/*").saves_no_optimizer([bare])
    bare.unlink()
    assert trainer.left_behind(tmp_path) == ["e4.pt", "out/weights/e3.pt"]
    save(found, epoch=3)
    assert misplaced_checkpoints(tmp_path, [tmp_path / "e4.pt"], 0.0) == [(found, "is in a folder below")]


def test_a_checkpoint_of_another_name_without_an_epoch_is_not_resumed_from(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt")
    assert kind().checkpoints(tmp_path) == []
    assert kind().unrecognised(tmp_path) == [(path, "lacks epoch")]


def test_lines_become_progress_and_evaluations_none() -> None:
    follower = Follower(kind(progress=[r"^ep (?P<epoch>\d+): (?P<loss>\S+)", r"acc (?P<val_acc>\S+)"]))
    assert follower.see("ep 3: 0.5") == StepSeen(4, 0, None, 0.5, None)
    assert follower.see("acc 0.9") is None
    assert Follower(TRAINERS["metriclogger"]).see("ep 3: 0.5") is None


def test_a_key_that_the_section_names_tells_the_count(tmp_path: Path) -> None:
    """Also within another and as a tensor; a file without it says which whole numbers it has."""
    save(tmp_path / "a.pt", epoch=9, trainer={"done": torch.tensor(3)})
    trainer = kind(counted="trainer.done")
    assert [number for number, _ in trainer.checkpoints(tmp_path)] == [3]
    assert trainer.inspect(tmp_path / "a.pt", 1, tmp_path / "a.pt").epoch == 4
    (tmp_path / "a.pt").unlink()
    path = save(tmp_path / "b.pt", finished_epoch=3, EPOCHS_RUN=4, lr=0.5)
    there = "whole numbers at its top: finished_epoch, EPOCHS_RUN"
    assert trainer.unrecognised(tmp_path) == [(path, f"lacks trainer.done; {there}")]
    assert kind().unrecognised(tmp_path) == [(path, f"lacks epoch; {there}")]
    assert "script.counted" in kind().looked_for
    assert 'script.checkpoints: "NAME_{epoch}.pt", "FOLDER/' in kind().looked_for
    assert kind(counted="EPOCHS_RUN").checkpoints(tmp_path) == [(4, path)]
    by_iteration = TRAINERS["script"].of(ScriptSettings(**OWN, counted="EPOCHS_RUN"), "t.py", 9)
    assert by_iteration.inspect(path, 0, path).done("iteration") == 4


def test_a_script_that_saves_no_optimizer_resumes_without(tmp_path: Path) -> None:
    """A file without one beside files that have one is no whole checkpoint."""
    dirs, weights = WorkDirs(tmp_path), {"model": torch.nn.Linear(2, 1).state_dict()}
    for epoch in (1, 2):
        torch.save({**weights, "epoch": epoch}, tmp_path / f"m{epoch}.pt")
    found, skipped = dirs.newest_valid(kind())
    assert found
    assert (found.epoch, skipped) == (2, [])
    assert dirs.newest_valid(TRAINERS["metriclogger"])[0] is None
    save(tmp_path / "m1.pt", epoch=1)
    found, skipped = dirs.newest_valid(kind())
    assert found
    assert (found.epoch, skipped) == (1, [f"{tmp_path}/m2.pt is not complete: it lacks optimizer"])


def test_a_whole_model_beside_checkpoints_is_no_broken_one(tmp_path: Path) -> None:
    """torch.save(model) names classes, which is unsafe to load but not damaged."""
    torch.save({"model": torch.nn.Linear(2, 1).state_dict(), "epoch": 3}, tmp_path / "ckpt_3.pt")
    torch.save(torch.nn.Linear(2, 1), tmp_path / "model.pt")
    found, skipped = WorkDirs(tmp_path).newest_valid(kind())
    assert found
    assert (found.epoch, skipped) == (3, [])


def test_a_broken_checkpoint_of_another_name_may_have_had_an_optimizer(tmp_path: Path) -> None:
    """Not one that differs by its number: those of one script are alike."""
    dirs, weights = WorkDirs(tmp_path), {"model": torch.nn.Linear(2, 1).state_dict()}

    def cut(name: str) -> None:
        torch.save({**weights, "epoch": 3}, tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-200])

    torch.save({**weights, "epoch": 2}, tmp_path / "m2.pt")
    cut("m10.pt")
    assert dirs.newest_valid(kind())[0]
    cut("last.pt")
    found, skipped = dirs.newest_valid(kind())
    assert (found, skipped) == (None, [f"{tmp_path}/m2.pt is not complete: it lacks optimizer"])
    assert dirs.newest_valid(kind(checkpoints="m{epoch}.pt"))[0], "the other is none of this training"


def test_iterations_that_count_from_0_end_with_their_epoch() -> None:
    """As timm's, of which the last line of an epoch is a batch short of it."""
    follower = Follower(kind())
    seen = [follower.see(f"Train: 2 [{at:4}/18]  Loss: 0.5 (0.5)") for at in (0, 16, 17)]
    assert [one.iteration for one in seen if isinstance(one, StepSeen)] == [1, 17, 18]
