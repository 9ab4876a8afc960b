"""Which metric is the total loss, and what you read where none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.analysis import analyze, read
from trainrelay.analysis.naming import _TOTALS, total_of
from trainrelay.records import Analysis
from trainrelay.report import analysis_markdown


def judged(path: Path, head: str, *columns: tuple[float, float]) -> Analysis:
    """A table of 30 epochs; each column goes straight from a first value to a last one."""
    rows = (
        ",".join([str(at), *(f"{first + (last - first) * at / 29:.4f}" for first, last in columns)])
        for at in range(30)
    )
    path.write_text("\n".join([head, *rows]) + "\n")
    return analyze(read([path]))


FALLS, RISES = (8.0, 2.0), (2.0, 8.0)


@pytest.mark.parametrize(
    ("names", "total"),
    [
        (["loss", "loss_cls"], "loss"),
        (["Loss"], "Loss"),
        (["Total Loss", "cls loss"], "Total Loss"),
        (["total-loss", "loss.cls"], "total-loss"),
        (["train_loss", "aux_loss", "acc"], "train_loss"),
        (["acc", "mlm_loss"], "mlm_loss"),
        (["nll_loss", "loss_scale"], "nll_loss"),
        (["loss_ce", "loss_ce_unscaled"], "loss_ce"),
        (["g_loss", "d_loss"], None),
        (["loss_feat"], None),
        (["loss_G", "acc"], None),
        (["policy_loss"], None),
        (["LossPi", "acc"], None),
        (["value_loss"], None),
        (["train/loss_D"], None),
        (["loss_value", "acc"], "loss_value"),
        (["loss_map_d"], "loss_map_d"),
        (["loss_a", "loss_b"], None),
        (["acc"], None),
        ([], None),
    ],
)
def test_the_total_has_its_usual_names_or_is_the_only_loss(names: list[str], total: str | None):
    assert total_of(names) == total


@pytest.mark.parametrize(
    "head",
    ["epoch,Train Loss,Val Loss", "epoch,train-loss,val-loss", "epoch,Loss,val.Loss", "epoch,loss,loss_val"],
)
def test_losses_are_read_and_judged_however_they_are_written(tmp_path, head):
    analysis = judged(tmp_path / "log.csv", head, RISES, RISES)
    assert analysis.verdict.kind != "healthy"
    assert [list(analysis.metrics[phase]) for phase in ("train", "val")] == [[analysis.total]] * 2
    healthy = judged(tmp_path / "log.csv", head, FALLS, (8.1, 2.2))
    assert healthy.verdict.kind == "healthy"
    assert "dropped from ~8 to ~2" in healthy.verdict.reason


YOLO = (
    "epoch,train/box_loss,train/cls_loss,train/dfl_loss,metrics/mAP50(B),val/box_loss,val/cls_loss,"
    "val/dfl_loss"
)


def test_of_detectors_that_log_terms_alone_their_sum_is_the_total(tmp_path):
    path, parts = tmp_path / "results.csv", [(1.5, 0.9), (2.5, 0.8), (1.4, 1.1)]
    analysis = judged(path, YOLO, *parts, (0.1, 0.7), *parts)
    assert analysis.total == "sum of losses"
    assert analysis.metrics["train"]["sum of losses"].first == pytest.approx(5.4)
    assert "total loss dropped from ~5.4 to ~2.8" in analysis.verdict.reason
    overfits = judged(path, YOLO, *parts, (0.1, 0.7), (1.5, 3.0), (2.5, 4.0), (1.4, 2.0))
    assert overfits.verdict.kind == "warning"
    flat = judged(path, YOLO, *[(1.5, 1.5)] * 3, (0.1, 0.1), *[(1.5, 1.5)] * 3)
    assert "does not fall" in flat.verdict.reason


@pytest.mark.parametrize("columns", [(FALLS, RISES), (RISES, RISES)], ids=["one falls", "both rise"])
def test_losses_that_work_against_each_other_are_no_total_and_none_has_to_fall(tmp_path, columns):
    analysis = judged(tmp_path / "log.csv", "epoch,g_loss,d_loss", *columns)
    assert (analysis.total, analysis.verdict.kind) == (None, "healthy")
    assert "its course was not judged" in analysis.verdict.reason
    assert "g_loss, d_loss" in analysis.verdict.reason


@pytest.mark.parametrize(
    ("metric", "judged_so"),
    [
        *(
            (name, False)
            for name in ("ep_rew_mean", "return", "reward", "EpRew", "AverageEpRet", "x/rewards/mean")
        ),
        *(("acc", True), ("rewards/chosen", True), ("interpret", True), ("loss_ret", True)),
    ],
)
def test_a_loss_of_a_training_by_rewards_need_not_fall(tmp_path, metric, judged_so):
    """That of preferences (DPO) has to."""
    analysis = judged(tmp_path / "log.csv", f"epoch,loss,{metric}", RISES, RISES)
    assert (analysis.verdict.kind != "healthy") == judged_so
    assert "Healthy convergence" not in analysis_markdown("x", analysis)


def test_the_page_names_each_usual_total():
    page = (Path(__file__).parents[3] / "docs" / "judgement.md").read_text(encoding="utf-8")
    section = page.partition("## The total loss")[2].partition("## ")[0]
    assert [name for name in _TOTALS if f"`{name}`" not in section] == []


def test_a_total_that_is_zero_from_the_start_is_not_told_to_fall(tmp_path):
    analysis = judged(tmp_path / "log.csv", "epoch,loss,acc", (0, 0), (0.1, 0.9))
    assert analysis.verdict.kind == "warning"
    assert analysis.verdict.reason == "The total loss is exactly 0.0 throughout."


def test_what_is_about_the_machine_is_no_component(tmp_path):
    """As detectron2's metrics.json has it."""
    head = "iteration,total_loss,loss_cls,eta_seconds,rank_data_time"
    found = judged(tmp_path / "log.csv", head, FALLS, FALLS, (4000, 10), (1, 1)).findings
    assert [one.metric for one in found if one.check == "components"] == ["loss_cls"]


def test_where_no_loss_is_logged_the_verdict_says_so(tmp_path):
    analysis = judged(tmp_path / "log.csv", "epoch,acc,val_acc", (0.1, 0.9), (0.1, 0.8))
    assert analysis.verdict.reason == "No total loss is known: its course was not judged."
