"""Whole Snakemake runs with real trainings: what is made again, what is trained again, and what never is."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.processes import ranks_of, started, wait_for
from support.project import SECRET, TIMEOUT_S, Project

pytestmark = pytest.mark.xdist_group("trained")
DECLARED = [
    f"{stage}/{name}"
    for stage in ("stage1", "stage2")
    for name in ("train.json", "checkpoint.json", "analysis.json", "analysis.md")
]


def test_a_second_run_has_nothing_to_do(trained: Project) -> None:
    assert "Nothing to be done" in trained.succeed()


# The pages say when they were written.
WRITTEN_AT = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")


SOME = ("stage1/train.json", "report.html")
"""What `make test` removes; `make test-long` removes each."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in SOME else [pytest.mark.long])
        for name in [*DECLARED, "report.html", "../index.html"]
    ],
)
def test_any_one_declared_file_is_made_again_and_nothing_is_trained(trained: Project, name: str) -> None:
    path = trained.folder / "runs/driving" / name
    before, attempts = WRITTEN_AT.sub(b"", path.read_bytes()), trained.attempts()
    path.unlink()
    trained.succeed()
    assert WRITTEN_AT.sub(b"", path.read_bytes()) == before
    assert trained.attempts() == attempts
    assert "Nothing to be done" in trained.succeed()


def edited(path: str, change: Callable[[str], str]) -> Callable[[Project], None]:
    def edit(project: Project) -> None:
        file = project.folder / path
        changed = change(file.read_text())
        assert changed != file.read_text(), f"nothing was edited in {path}"
        file.write_text(changed)

    return edit


COMMENTS = {
    "a rule": edited("workflow/rules/train.smk", lambda text: "# a comment\n" + text.replace("#", "# so:")),
    "the config": edited("config.yaml", lambda text: "# a comment\n\n" + text.replace("\n", "  # c\n", 1)),
    "a trainer config": edited(
        "workflow/demo/driving/projects/configs/stage2_e2e/e2e.py",
        lambda text: (
            '"""A docstring."""\n# a comment\n' + text.replace("lr=1e-3, ", "\n    lr = 1e-3,  # c\n    ")
        ),
    ),
    "a base of a trainer config": edited(
        "workflow/demo/driving/projects/configs/_base_/default_runtime.py", lambda text: text + "\n# c\n"
    ),
    "the trainer's code": edited("workflow/demo/driving/driving/losses.py", lambda text: text + "\n# c\n"),
}


@pytest.mark.parametrize("where", COMMENTS)
def test_comments_and_formatting_train_nothing(trained: Project, where: str) -> None:
    COMMENTS[where](trained)
    assert "Nothing to be done" in trained.succeed("-n")


def test_editing_the_library_trains_nothing(trained: Project, tmp_path: Path) -> None:
    from support.project import REPOSITORY  # noqa: PLC0415

    copied = tmp_path / "src"
    subprocess.run(["cp", "-r", str(REPOSITORY / "workflow/src"), str(copied)], check=True)
    library = copied / "trainrelay/operations/train.py"
    library.write_text(library.read_text() + "\n# a comment, and code\nUNUSED = 1\n")
    done = trained.run("snakemake", "-n", "--cores", "2", env={"PYTHONPATH": str(copied)})
    assert "Nothing to be done" in done.stdout + done.stderr


def test_another_learning_rate_trains_its_stage_alone_and_keeps_the_old_training(trained: Project) -> None:
    COMMENTS["the config"](trained)
    edited(
        "workflow/demo/driving/projects/configs/stage2_e2e/e2e.py", lambda t: t.replace("lr=1e-3", "lr=5e-4")
    )(trained)
    old = (trained.stage("stage2") / "attempts/001/trainer.log").read_bytes()
    stage1 = trained.stage("stage1") / "attempts"
    work_dirs = trained.folder / "workflow/demo/driving/work_dirs"
    weights = (work_dirs / "e2e/epoch_2.pth").read_bytes()

    trained.succeed()

    assert trained.attempts() == {"stage1": 1, "stage2": 1, "stage2.old-1": 1}
    assert len(list(stage1.iterdir())) == 1
    aside = trained.folder / "runs/driving/stage2.old-1"
    assert (aside / "attempts/001/trainer.log").read_bytes() == old
    assert (work_dirs / "e2e.old-1/epoch_2.pth").read_bytes() == weights
    assert (work_dirs / "e2e/epoch_2.pth").read_bytes() != weights
    assert "Nothing to be done" in trained.succeed()


def test_raised_epochs_go_on_from_what_is_there(trained: Project) -> None:
    trained.configure(lambda data: data["runs"]["driving"]["stages"]["stage2"].update(epochs=3))
    assert trained.scheduled() == {"driving/stage2": "continues from epoch 2 to 3"}
    trained.succeed()
    log = (trained.stage("stage2") / "attempts/002/trainer.log").read_text()
    assert "resumed epoch 2, iter 12" in log
    assert re.findall(r"Epoch \[(\d)\]\[1/6\]", log) == ["3"]
    assert trained.attempts() == {"stage1": 1, "stage2": 2}


def test_promoting_again_trains_nothing(trained: Project) -> None:
    attempts = trained.attempts()
    trained.succeed("--forcerun", "promote_stage1")
    assert trained.attempts() == attempts


@pytest.mark.long
def test_another_epoch_is_handed_on_and_only_what_starts_from_it_is_trained(trained: Project) -> None:
    trained.configure(
        lambda data: data["runs"]["driving"]["stages"]["stage1"].update(checkpoint={"epoch": 1})
    )
    trained.succeed()
    assert trained.attempts() == {"stage1": 1, "stage2": 1, "stage2.old-1": 1}
    source = trained.stage("stage1") / "work_dir/epoch_1.pth"
    promoted = trained.folder / "workflow/demo/driving/ckpts/track_map.pth"
    assert promoted.read_bytes() == source.read_bytes()
    assert "Nothing to be done" in trained.succeed()


@pytest.mark.long
def test_another_promotion_target_is_written_and_nothing_is_trained(trained: Project) -> None:
    attempts = trained.attempts()

    def rename(data: dict[str, Any]) -> None:
        data["runs"]["driving"]["stages"]["stage1"]["promotion"]["target"] = "ckpts/renamed.pth"

    trained.configure(rename)
    trained.succeed()
    assert (trained.folder / "workflow/demo/driving/ckpts/renamed.pth").is_file()
    assert trained.attempts() == attempts


@pytest.mark.long
def test_without_a_promotion_target_the_next_stage_loads_the_checkpoint_where_it_lies(fresh: Project) -> None:
    def no_target(data: dict[str, Any]) -> None:
        data["runs"]["driving"]["stages"]["stage1"].update(promotion=None, epochs=1)
        data["runs"]["driving"]["stages"]["stage2"].update(epochs=1)

    fresh.configure(no_target)
    fresh.succeed()
    log = (fresh.stage("stage2") / "attempts/001/trainer.log").read_text()
    assert "load checkpoint from local path: ../../../runs/driving/stage1/work_dir/epoch_1.pth" in log


def retraining(project: Project) -> subprocess.Popen[bytes]:
    """Snakemake with stage 2 training anew, its first epoch finished."""
    project.configure(lambda data: data["runs"]["driving"]["stages"]["stage2"].update(seed=7, epochs=3))
    running = started(project)
    wait_for(
        lambda: (
            (project.folder / "workflow/demo/driving/work_dirs/e2e/epoch_1.pth").exists()
            and (project.stage("stage2") / "attempts/001").exists()
            and (project.folder / "runs/driving/stage2.old-1").exists()
        )
    )
    return running


@pytest.mark.long
def test_an_edit_while_a_workflow_runs_here_waits_for_the_next_one(trained: Project) -> None:
    """In config.yaml: what runs has its own copy. In the checkout: the next stage stops the chain."""
    trained.configure(lambda data: data["runs"]["driving"]["stages"]["stage1"].update(seed=7, epochs=3))
    running = started(trained)
    wait_for(lambda: (trained.stage("stage1") / "attempts/001").exists() and ranks_of(trained))
    (trained.folder / "config.yaml").write_text("runs: {half")
    config = trained.folder / "workflow/demo/driving/projects/configs/stage2_e2e/e2e.py"
    config.write_text(config.read_text() + "optimizer = dict(lr=0.5)\n")
    assert running.wait(timeout=TIMEOUT_S) != 0
    assert (trained.stage("stage1") / "checkpoint.json").exists()
    said = (trained.stage("stage2") / "train.log").read_text()
    assert re.search(r"nothing is trained \(.*optimizer.lr: \S+ -> 0.5", said)
    assert trained.attempts() == {"stage1.old-1": 1, "stage1": 1, "stage2": 1}


@pytest.mark.long
def test_a_removed_folder_of_snakemake_stops_no_chain(trained: Project) -> None:
    """What comes after the training finds the config and what was submitted."""
    trained.configure(lambda data: data["runs"]["driving"]["stages"]["stage1"].update(seed=7, epochs=3))
    running = started(trained)
    wait_for(lambda: (trained.stage("stage1") / "attempts/001").exists() and ranks_of(trained))
    shutil.rmtree(trained.folder / ".snakemake")
    assert running.wait(timeout=TIMEOUT_S) == 0
    assert trained.attempts() == {"stage1.old-1": 1, "stage1": 1, "stage2.old-1": 1, "stage2": 1}


@pytest.mark.long
def test_a_killed_rank_costs_its_epoch_and_nothing_else(trained: Project) -> None:
    """The supervisor tries again in the same job."""
    running = retraining(trained)
    victim = next(process for process in ranks_of(trained) if process.environ().get("RANK") == "1")
    os.kill(victim.pid, signal.SIGKILL)
    assert running.wait(timeout=TIMEOUT_S) == 0
    assert ranks_of(trained) == []
    log = (trained.stage("stage2") / "attempts/002/trainer.log").read_text()
    assert re.search(r"resumed epoch [12], iter", log)
    assert "Epoch [1]" not in log
    assert trained.attempts() == {"stage1": 1, "stage2.old-1": 1, "stage2": 2}


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_stopped_supervisor_leaves_no_process_and_resumes(trained: Project, sent: signal.Signals) -> None:
    trained.configure(lambda data: data["runs"]["driving"]["stages"]["stage2"].update(epochs=9))
    running = subprocess.Popen(
        [sys.executable, "-m", "trainrelay", "train", "driving/stage2"],
        cwd=trained.folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for((trained.folder / "workflow/demo/driving/work_dirs/e2e/epoch_3.pth").exists)
    written = trained.trainrelay("report", "driving")
    running.send_signal(sent)
    _, said = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 75, said
    assert re.search(r"to resume .* epoch [3-9].* \(step \d+\)\.", said)
    assert ranks_of(trained) == []
    planned = trained.scheduled()["driving/stage2"]
    assert re.fullmatch(r"resumes .* epoch [3-9].* \(step \d+\) of 9 epochs", planned)
    assert written.returncode == 0, written.stderr


def test_until_a_training_stops_there(fresh: Project) -> None:
    assert set(fresh.scheduled("--until", "train_stage1")) == {"driving/stage1"}


def test_the_demo_would_train_both_systems(fresh: Project) -> None:
    (fresh.folder / "config.yaml").unlink()
    (fresh.folder / "demo").symlink_to("profiles/demo")
    planned = fresh.run("snakemake", "--profile", "demo", "-n")
    assert planned.returncode == 0, planned.stderr
    trainings = re.findall(
        r"^(\w+/\w+): trains \d+ epochs: nothing trained yet$", planned.stdout, re.MULTILINE
    )
    assert trainings == ["driving/stage1", "driving/stage2", "keypoints/pose"]


def test_a_resource_is_set_from_the_command_line(fresh: Project) -> None:
    printed = fresh.succeed("-n", "--set-resources", "train_stage2:runtime=77")
    assert re.search(r"driving/stage1: .*\n  fresh: .*\n  2 CPU processes, 5 min", printed)
    assert re.search(r"driving/stage2: .*\n  fresh: .*\n  2 CPU processes, 77 min", printed)


def test_the_rule_graph_has_no_cycle(fresh: Project) -> None:
    graph = fresh.snakemake("--rulegraph").stdout
    labels = dict(re.findall(r"(\d+)\[label = \"(\w+)\"", graph))
    edges = [(labels[a], labels[b]) for a, b in re.findall(r"(\d+) -> (\d+)", graph)]
    assert ("train_stage1", "promote_stage1") in edges
    assert ("promote_stage1", "train_stage2") in edges
    left = set(labels.values())
    while ends := {node for node in left if not any(b == node and a in left for a, b in edges)}:
        left -= ends
    assert not left, f"a cycle among {left}"


def test_lint_is_clean(fresh: Project) -> None:
    done = fresh.snakemake("--lint")
    assert done.returncode == 0, done.stderr
    assert "Congratulations" in done.stdout + done.stderr


def test_a_secret_is_in_your_config_and_in_the_snapshots_of_it_that_only_you_may_read(
    trained: Project,
) -> None:
    said = trained.succeed("-n", "-p", "--forceall") + trained.trainrelay("plan").stdout
    assert "HF_TOKEN='***'" in said
    assert SECRET not in said
    files = (path for path in trained.folder.rglob("*") if path.is_file())
    holding = [path.relative_to(trained.folder) for path in files if SECRET.encode() in path.read_bytes()]
    assert {str(path.parent) for path in holding} == {".", ".snakemake/trainrelay"}
    snapshots = [trained.folder / path for path in holding if path.name != "config.yaml"]
    assert len(snapshots) == 2
    assert {path.stat().st_mode & 0o777 for path in snapshots} == {0o600}


def test_snakemakes_own_report_holds_ours(trained: Project) -> None:
    trained.succeed("--report", "workflow.html")
    page = (trained.folder / "workflow.html").read_text()
    assert "report.html" in page
    assert "Training" in page
