"""The demo as a person runs it: what its logs hold against what both trainings must show."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.project import Project, make_project
from support.series import metrics_of, series
from trainrelay.analysis import read
from trainrelay.records import Log

# In one process with most other trainings: many at a time on two cores wait for each other.
pytestmark = [pytest.mark.xdist_group("trainings"), pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The demo's own config and profile, run once."""
    project = make_project(tmp_path_factory.mktemp("demo") / "trainrelay")
    (project.folder / "config.yaml").unlink()
    (project.folder / "demo").symlink_to("profiles/demo")
    done = project.run("snakemake", "--profile", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def log_of(project: Project, stage: str) -> Log:
    return read([project.stage(stage) / "attempts/001/trainer.log"])


def ends(log: Log, metric: str) -> tuple[float, float]:
    _, values = series(log, metric)
    return values[0], values[-1]


def start_of(log: Log, group: str) -> float:
    """The sum of a group's losses in the first logged row."""
    first = next(row for row in log.rows if row.phase == "train").values
    return sum(value for key, value in first.items() if key.startswith(group) and "loss" in key)


def test_a_second_run_has_nothing_to_do(demo: Project) -> None:
    done = demo.run("snakemake", "--profile", "demo")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_the_report_is_there_and_both_stages_are_healthy(demo: Project) -> None:
    page = (demo.folder / "runs/driving/report.html").read_text()
    assert page.count("Healthy convergence") >= 2


def test_stage_1_at_least_halves_its_total_loss(demo: Project) -> None:
    first, last = ends(log_of(demo, "stage1"), "loss")
    assert last <= first / 2


@pytest.mark.parametrize("group", ["track.", "map."])
def test_stage_2_starts_clearly_below_where_stage_1_started(demo: Project, group: str) -> None:
    """The weights were handed over: without them these losses start where stage 1 started."""
    assert start_of(log_of(demo, "stage2"), group) < 0.75 * start_of(log_of(demo, "stage1"), group)


def test_past_trajectories_are_learned_in_stage_2_only(demo: Project) -> None:
    key = "track.frame_0_loss_past_trajs_5"
    assert set(series(log_of(demo, "stage1"), key)[1]) == {0.0}
    assert min(series(log_of(demo, "stage2"), key)[1]) > 0


@pytest.mark.parametrize("group", ["motion.loss_traj", "occ.loss_dice", "planning.loss_ade"])
def test_stage_2_learns_what_is_new_in_it(demo: Project, group: str) -> None:
    first, last = ends(log_of(demo, "stage2"), group)
    assert last < first


def test_the_logs_are_those_of_uniad(demo: Project) -> None:
    log = log_of(demo, "stage2")
    assert {metric.split(".")[0] for metric in metrics_of(log) if "." in metric} == {
        "track",
        "map",
        "motion",
        "occ",
        "planning",
    }
    assert log.format == "mmcv-text"
    assert list(Path(demo.stage("stage2") / "work_dir").glob("*.log.json"))


# ------------------------------------------------------------------------------- keypoints


def keypoints(project: Project) -> Path:
    return project.stage("pose", "keypoints")


def test_the_keypoint_runs_coordinate_loss_at_least_halves_and_its_pck_rises(demo: Project) -> None:
    log = read([keypoints(demo) / "attempts/001/trainer.log"])
    assert log.format == "metriclogger-text"
    _, losses = series(log, "loss_coords", "epoch")
    _, pck = series(log, "pck@0.1", "val")
    assert len(losses) == len(pck) == 6
    assert losses[-1] <= losses[0] / 2
    assert pck[-1] > pck[0]
    assert pck[-1] > 0.5


def test_its_console_and_its_json_log_say_the_same(demo: Project) -> None:
    text = read([keypoints(demo) / "attempts/001/trainer.log"])
    rows = read([keypoints(demo) / "work_dir/log.txt"])
    assert rows.epochs_only
    for metric, phase in (("loss", "epoch"), ("loss_ce_3", "epoch"), ("pck@0.1", "val"), ("loss", "val")):
        printed = series(text, metric, phase)[1]  # type: ignore[arg-type]
        exact = series(rows, metric, "train" if phase == "epoch" else "val")[1]
        assert printed == pytest.approx(exact, abs=1e-4)


def test_no_cross_entropy_is_negative_and_none_without_cls_tokens_is_more_than_zero(demo: Project) -> None:
    log = read([keypoints(demo) / "attempts/001/trainer.log"])
    for metric in metrics_of(log):
        if metric.startswith("loss_ce"):
            assert min(series(log, metric)[1]) >= 0.0
        if metric.startswith("loss_ce_room"):
            assert set(series(log, metric)[1]) == {0.0}


def test_there_is_a_report_for_each_run_and_a_page_of_all(demo: Project) -> None:
    page = (demo.folder / "runs/index.html").read_text()
    for run in ("driving", "keypoints"):
        assert (demo.folder / f"runs/{run}/report.html").is_file()
        assert f'href="{run}/report.html"' in page
