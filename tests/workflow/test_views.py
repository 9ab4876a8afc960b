"""`snakemake -n` and `trainrelay plan` are views of one state: they always name the same trainings."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.project import Project

pytestmark = pytest.mark.xdist_group("trained")
STAGE1, STAGE2 = "driving/stage1", "driving/stage2"


def nothing(_: Project) -> None:
    pass


def learning_rate(project: Project) -> None:
    path = project.folder / "workflow/demo/driving/projects/configs/stage2_e2e/e2e.py"
    path.write_text(path.read_text().replace("lr=1e-3", "lr=5e-4"))


def learning_rate_of_stage1(project: Project) -> None:
    stages(project, "stage1", options={"optimizer.lr": 1e-4})


def stages(project: Project, name: str, **changes: object) -> None:
    def change(data: dict) -> None:  # type: ignore[type-arg]
        data["runs"]["driving"]["stages"][name].update(changes)

    project.configure(change)


def epochs_raised(project: Project) -> None:
    stages(project, "stage2", epochs=3)


def killed_in_stage_2(project: Project) -> None:
    folder = project.stage("stage2")
    record = json.loads((folder / "attempts/001/attempt.json").read_text())
    record.update(end="killed", reason="rank 1 was ended by SIGKILL", final_checkpoint=None)
    (folder / "attempts/001/attempt.json").write_text(json.dumps(record))
    (folder / "train.json").unlink()
    (project.folder / "workflow/demo/driving/work_dirs/e2e/epoch_2.pth").unlink()


def removed(name: str) -> Callable[[Project], None]:
    def remove(project: Project) -> None:
        (project.folder / "runs/driving" / name).unlink()

    remove.__name__ = f"removed_{name}"
    return remove


def foreign(project: Project) -> None:
    shutil.rmtree(project.stage("stage2"))


def workers_and_backend(project: Project) -> None:
    stages(project, "stage2", backends=["nccl", "gloo"], log="other.log", resources={"runtime_min": 7})


def checkout_gone(project: Project) -> None:
    (project.folder / "workflow/demo/driving").rename(project.folder / "elsewhere")


def attempts_gone(project: Project) -> None:
    shutil.rmtree(project.stage("stage2") / "attempts")


def another_epoch_handed_on(project: Project) -> None:
    stages(project, "stage1", checkpoint={"epoch": 1})


def work_dir_renamed_in_the_config(project: Project) -> None:
    killed_in_stage_2(project)
    stages(project, "stage2", work_dir="work_dirs/other")


STATES: list[tuple[Callable[[Project], None], set[str]]] = [
    (nothing, set()),
    (learning_rate, {STAGE2}),
    (learning_rate_of_stage1, {STAGE1, STAGE2}),
    (epochs_raised, {STAGE2}),
    (killed_in_stage_2, {STAGE2}),
    (removed("stage1/train.json"), set()),
    (removed("stage1/checkpoint.json"), set()),
    (removed("stage2/train.json"), set()),
    (removed("stage2/analysis.json"), set()),
    (foreign, set()),
    (workers_and_backend, set()),
    (checkout_gone, set()),
    (attempts_gone, set()),
    (another_epoch_handed_on, {STAGE2}),
    (work_dir_renamed_in_the_config, set()),
]
SOME = {nothing, learning_rate, epochs_raised, killed_in_stage_2, foreign}
"""The states that `make test` looks at; `make test-long` does at all."""


@pytest.mark.parametrize(
    ("change", "trains"),
    [
        pytest.param(change, trains, id=change.__name__, marks=[] if change in SOME else [pytest.mark.long])
        for change, trains in STATES
    ],
)
def test_both_name_the_same_trainings(
    trained: Project, change: Callable[[Project], None], trains: set[str]
) -> None:
    change(trained)
    assert trained.trained_by_snakemake() == trains
    assert trained.trained_by_plan() == trains


def test_both_name_both_trainings_of_a_fresh_project(fresh: Project) -> None:
    assert fresh.trained_by_snakemake() == {STAGE1, STAGE2} == fresh.trained_by_plan()


def test_a_changed_learning_rate_is_printed_before_and_now(trained: Project) -> None:
    learning_rate(trained)
    printed = trained.succeed("-n")
    assert "config: optimizer.lr: 0.001 -> 0.0005" in printed
    assert "before: 'config: optimizer.lr = 0.001'" in printed
    assert "the old training is archived in runs/driving/stage2.old-1" in printed
    assert "train_stage1" not in printed


def test_a_dry_run_begins_with_a_line_per_training_the_refused_ones_first(fresh: Project) -> None:
    """Of those that it is about, once, before the table of jobs; a job's message begins with it, too."""
    work_dir = fresh.folder / "workflow/demo/driving/work_dirs/e2e"
    work_dir.mkdir(parents=True)
    (work_dir / "epoch_1.pth").write_bytes(b"mine")
    printed = fresh.succeed("-n")
    before, _, jobs = printed.partition("Job stats:")
    refused, trains = re.findall(r"^driving/stage\d: .*$", before, re.MULTILINE)
    assert refused.startswith("driving/stage2: refused: ")
    assert "epoch_1.pth" in refused or "trainrelay did not write" in refused
    assert trains == "driving/stage1: trains 2 epochs: nothing trained yet"
    assert not re.findall(r"^driving/stage\d: ", jobs, re.MULTILINE)
    assert re.search(r"Job \d+: driving/stage1: trains 2 epochs\n  fresh: nothing trained yet\n  2 CPU", jobs)
    one = fresh.succeed("-n", "--until", "train_stage1").partition("Job stats:")[0]
    assert "driving/stage1: " in one
    assert "driving/stage2: " not in one


@pytest.mark.parametrize("options", [("-n", "--quiet"), ("--summary",), ("--dag",), ("--unlock",)])
def test_no_other_output_has_these_lines(fresh: Project, options: tuple[str, ...]) -> None:
    assert not re.search(r"^driving/stage\d: ", fresh.succeed(*options), re.MULTILINE)


def test_a_foreign_work_dir_is_refused_before_anything_starts(trained: Project) -> None:
    foreign(trained)
    work_dir = trained.folder / "workflow/demo/driving/work_dirs/e2e"
    before = {path: path.stat().st_mtime_ns for path in work_dir.iterdir()}
    done = trained.snakemake()
    assert done.returncode == 1
    assert "stage.json is missing, but" in done.stderr
    assert f"mv '{work_dir}'" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in work_dir.iterdir()} == before
    direct = trained.trainrelay("train", STAGE2)
    assert direct.returncode == 2
    assert f"mv '{work_dir}'" in direct.stderr


def test_an_expensive_training_is_not_set_aside_without_a_word(trained: Project) -> None:
    trained.configure(lambda data: data.update(retrain_guard_gpu_h=0.0))
    learning_rate(trained)
    refused = trained.snakemake()
    assert refused.returncode == 1
    assert "config: optimizer.lr: 0.001 -> 0.0005" in refused.stderr
    assert "GPU-hours" in refused.stderr
    assert "trainrelay accept driving/stage2 --retrain" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert trained.trained_by_plan() == set() == trained.trained_by_snakemake()

    accepted = trained.trainrelay("accept", STAGE2, "--retrain", "--reason", "a better rate")
    assert accepted.returncode == 0, accepted.stderr
    assert trained.trained_by_plan() == {STAGE2} == trained.trained_by_snakemake()


def test_two_runs_may_ask_for_different_things(fresh: Project) -> None:
    def second_run(data: dict[str, Any]) -> None:
        other = copy.deepcopy(data["runs"]["driving"])
        other["stages"]["stage1"]["promotion"]["target"] = "ckpts/other.pth"
        other["stages"]["stage2"]["work_dir"] = "work_dirs/other"
        other["stages"]["stage2"]["resources"] = {"partition": "gpu"}
        other["stages"]["stage2"]["options"]["optimizer.lr"] = 1e-6
        data["runs"]["other"] = other

    fresh.configure(second_run)
    assert set(fresh.scheduled()) == {STAGE1, STAGE2, "other/stage1", "other/stage2"}


def test_the_uniad_plan_is_printed_with_neither_checkout_nor_slurm(tmp_path: Path) -> None:
    project = Project(tmp_path / "root")
    project.folder.mkdir()
    from support.project import REPOSITORY  # noqa: PLC0415

    shutil.copy(REPOSITORY / "config.yaml", project.folder)
    shutil.copytree(REPOSITORY / "workflow/rules", project.folder / "workflow/rules")
    shutil.copy(REPOSITORY / "workflow/Snakefile", project.folder / "workflow")
    shutil.copytree(REPOSITORY / "workflow/report", project.folder / "workflow/report")
    printed = project.succeed("-n")
    assert "uniad/stage1: trains 6 epochs\n  fresh: nothing trained yet\n  8 x a40, " in printed
    assert "full_track_map.py, backends gloo" in printed
    assert "uniad/stage2: trains 20 epochs\n  fresh: nothing trained yet\n  8 x a40, " in printed
    assert "full_e2e.py, backends gloo" in printed
