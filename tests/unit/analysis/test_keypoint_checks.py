"""The checks of losses, layers and validation: each fires in a bad log and leaves a healthy one alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from trainrelay.analysis import analyze
from trainrelay.records import Expectation, Log, ResumePoint, Row


def of(analysis, check):
    return [finding for finding in analysis.findings if finding.check == check]


def only(analysis, check):
    found = of(analysis, check)
    assert len(found) == 1, [finding.message for finding in analysis.findings]
    return found[0]


def stepped(*values):
    """A course that has one value per epoch."""
    return lambda epoch: values[min(len(values) - 1, max(0, math.ceil(epoch) - 1))]


def summaries(*pairs, form="metriclogger-text", epochs=None):
    """A log that has only a train and a val loss per epoch."""
    rows = []
    for epoch, (train, val) in enumerate(pairs, start=1):
        rows.append(Row(epoch, epoch, 0, "train", 0, {"loss": train}))
        if val is not None:
            rows.append(Row(epoch, epoch, 0, "val", 0, {"loss": val}))
    return Log(form, ("log",), tuple(rows), max_epochs=epochs, epochs_only=True)


@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_healthy_training_is_healthy(keypoints, kind):
    analysis = analyze(keypoints(kind=kind), Expectation(epochs=6))
    assert analysis.verdict.kind == "healthy"
    assert {finding.severity for finding in analysis.findings} == {"info"}
    checks = {finding.check for finding in analysis.findings}
    assert checks >= {
        "validation",
        "validation-metric",
        "balance",
        "auxiliary",
        "components",
        "learning-rate",
    }
    assert not checks & {"negative-cross-entropy", "scaling", "sum-identity", "lost-term"}


# ---------------------------------------------------------------------- train against validation


def test_the_reference_users_progression_is_fine():
    """15.23 in training against 18.45 in validation is no overfitting."""
    log = summaries((66.23, 37.53), (45.12, 32.41), (35.67, 28.93), (15.23, 18.45))
    finding = only(analyze(log), "validation")
    assert finding.severity == "info"
    assert "37.5 -> 18.4 against 66.2 -> 15.2" in finding.message


def test_overfitting_is_a_warning_with_its_onset():
    log = summaries((60.0, 40.0), (40.0, 30.0), (30.0, 26.0), (22.0, 29.0), (15.0, 33.0))
    finding = only(analyze(log), "validation")
    assert (finding.severity, finding.where) == ("warning", "epoch 3")
    assert finding.message.startswith("Overfitting from epoch 3 on")
    assert (finding.evidence["best"], finding.evidence["train_at_best"]) == (26.0, 30.0)
    assert "checkpoint of epoch 3" in finding.advice


def test_a_validation_loss_that_rises_with_the_training_loss_is_not_called_overfitting():
    log = summaries((60.0, 40.0), (30.0, 26.0), (35.0, 30.0), (40.0, 33.0))
    finding = only(analyze(log), "validation")
    assert finding.severity == "warning"
    assert "Overfitting" not in finding.message


def test_one_worse_evaluation_is_not_yet_overfitting():
    assert only(analyze(summaries((60.0, 40.0), (40.0, 30.0), (35.0, 34.0))), "validation").severity == "info"


@pytest.mark.parametrize(("val", "severity"), [(14.9, "info"), (15.1, "warning")])
def test_much_higher_is_more_than_half_above(val, severity):
    assert only(analyze(summaries((20.0, 22.0), (10.0, val))), "validation").severity == severity


def test_totals_of_other_terms_are_not_compared_but_what_both_have(keypoints):
    """Validation without auxiliary losses has a smaller sum, which says nothing."""
    log = keypoints()
    bare = [
        replace(row, values={"loss": 3.0, **{k: row.values[k] for k in ("loss_ce", "loss_coords")}})
        if row.phase == "val"
        else row
        for row in log.rows
    ]
    finding = only(analyze(replace(log, rows=tuple(bare))), "validation")
    assert finding.severity == "info"
    assert "not comparable (training has 18 terms, validation 2 terms)" in finding.message
    assert "loss_ce, loss_coords" in finding.message
    assert finding.evidence["comparable"] is False
    assert finding.evidence["train"] == pytest.approx(0.7333 + 0.5583, abs=1e-3)


def test_totals_of_which_only_one_shows_its_terms_are_compared_with_a_word(keypoints):
    log = keypoints()
    rows = [
        replace(row, values={"loss": row.values["loss"]}) if row.phase == "val" else row for row in log.rows
    ]
    finding = only(analyze(replace(log, rows=tuple(rows))), "validation")
    assert finding.severity == "info"
    assert "the log does not show" in finding.message


def test_a_log_without_validation_is_not_judged_by_it(keypoints):
    assert not of(analyze(keypoints(validated=False)), "validation")


# ---------------------------------------------------------------------- validation metrics


def test_a_metric_that_falls_while_the_loss_falls_is_a_warning(keypoints):
    log = keypoints(val={"pck@0.1": stepped(0.2, 0.5, 0.7, 0.6, 0.5, 0.4)})
    finding = next(one for one in of(analyze(log), "validation-metric") if one.severity == "warning")
    assert (finding.metric, finding.where, finding.evidence["best"]) == ("pck@0.1", "epoch 3", 0.7)
    assert "while the validation loss fell" in finding.message


def test_a_metric_near_its_best_is_no_warning(keypoints):
    log = keypoints(val={"pck@0.1": stepped(0.2, 0.5, 0.7, 0.69, 0.66, 0.65)})
    assert only(analyze(log), "validation-metric").severity == "info"


@pytest.mark.parametrize(
    ("name", "values", "warned"),
    [
        ("pts_bbox_NuScenes/NDS", (0.2, 0.5, 0.4, 0.3), True),
        ("mAP", (0.2, 0.5, 0.4, 0.3), True),
        ("acc1", (20.0, 70.0, 60.0, 50.0), True),
        ("AP .75", (0.2, 0.5, 0.4, 0.3), True),
        ("class_error", (50.0, 10.0, 20.0, 40.0), True),
        ("car_AP_dist_0.5", (0.2, 0.5, 0.4, 0.3), False),
        ("mAVE", (0.2, 0.5, 0.4, 0.3), False),
    ],
)
def test_the_direction_of_unknown_metrics_is_known_by_usual_names_only(name, values, warned):
    rows = [Row(at, at, 0, "val", 0, {name: value}) for at, value in enumerate(values, start=1)]
    rows += [Row(at, at, 0, "train", 0, {"loss": 10.0 - at}) for at in range(1, 5)]
    analysis = analyze(Log("metriclogger-json", ("log",), tuple(rows), epochs_only=True))
    assert [one.metric for one in of(analysis, "validation-metric") if one.severity == "warning"] == (
        [name] if warned else []
    )


# ---------------------------------------------------------------------- numbers that cannot be


@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_negative_cross_entropy_is_a_warning_and_no_health(keypoints, kind):
    log = keypoints(kind=kind, train={"loss_ce": lambda epoch: -50 - 15 * epoch})
    analysis = analyze(log)
    finding = only(analysis, "negative-cross-entropy")
    assert (finding.severity, finding.metric) == ("warning", "loss_ce")
    assert "A correct cross-entropy cannot be negative" in finding.message
    assert "raw logits, without log_softmax" in finding.message
    assert "log_softmax before nll_loss" in finding.advice
    assert finding.evidence["share"] == 1.0
    assert analysis.verdict.kind == "warning"
    assert "Healthy" not in only(analysis, "convergence").message


def test_an_unknown_models_cross_entropy_is_known_by_its_name(keypoints):
    rows = tuple(
        Row(at, at, 0, "train", 0, {"loss": 9.0 - at, "loss_bce": -1.0, "loss_nll": -1.0})
        for at in range(1, 5)
    )
    finding = only(
        analyze(Log("metriclogger-json", ("log",), rows, epochs_only=True)), "negative-cross-entropy"
    )
    assert finding.evidence["terms"] == ["loss_bce"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_in_a_validation_loss_is_a_warning_at_its_epoch(keypoints, value):
    finding = only(analyze(keypoints(val={"loss": stepped(9.0, 8.0, value, 7.0)})), "non-finite")
    assert (finding.severity, finding.where, finding.blocking) == ("warning", "epoch 3 (validation)", False)


def test_nan_in_an_epochs_mean_blocks_only_if_it_stays(keypoints):
    """A line between shows medians, which one broken iteration does not reach."""
    passing = only(analyze(keypoints(means={"loss": stepped(9.0, math.nan, 8.0)})), "non-finite")
    assert (passing.severity, passing.where) == ("warning", "epoch 2 (mean)")
    staying = only(analyze(keypoints(means={"loss": stepped(9.0, 8.0, math.nan)})), "non-finite")
    assert (staying.severity, staying.blocking) == ("critical", True)


def test_nan_is_told_once_and_not_for_unscaled_twins(keypoints):
    log = keypoints(train={"loss_coords_2": lambda epoch: math.nan if epoch > 3 else 0.2})
    names = [one.metric for one in of(analyze(log), "non-finite")]
    assert names == ["loss_coords_2"]


# ---------------------------------------------------------------------- sums and coefficients


def test_a_sum_of_means_that_stops_being_the_sum_is_a_warning(keypoints):
    log = keypoints(means={"loss": lambda epoch: 15.0}, epochs=6)
    assert not of(analyze(log), "sum-identity")  # it never was the sum
    healthy = keypoints()
    rows = [
        replace(row, values={name: v for name, v in row.values.items() if name != "loss_coords_1"})
        if row.phase == "epoch" and row.epoch > 3
        else row
        for row in healthy.rows
    ]
    finding = only(analyze(replace(healthy, rows=tuple(rows))), "sum-identity")
    assert (finding.severity, finding.where) == ("warning", "epoch 4 (mean)")


def test_another_coefficient_than_the_configured_one_is_a_warning(keypoints):
    finding = only(analyze(keypoints(config={"coords_loss_coef": 4})), "scaling")
    assert finding.evidence["argument"] == "coords_loss_coef"
    assert (round(finding.evidence["ratio"], 3), finding.evidence["configured"]) == (5.0, 4.0)


@pytest.mark.parametrize(("first", "begins"), [(0, 4), (1, 6)])
def test_a_ratio_that_changes_is_a_warning_where_it_does(keypoints, first, begins):
    """Whether most of the training is before that, or after it."""
    twin = {"loss_ce_unscaled": lambda epoch: 1.1 - 0.8 * epoch / 6 if first <= epoch < begins else 0.9}
    finding = only(analyze(keypoints(train=twin)), "scaling")
    assert (finding.metric, finding.where) == ("loss_ce", f"epoch {(first or begins) + 1}, iter 0")


def test_a_term_that_its_switch_leaves_out_is_zero_by_design(keypoints):
    found = {one.metric: one for one in of(analyze(keypoints()), "components")}
    assert found["loss_ce_room"].message.endswith("remains 0.0 throughout, as expected without cls tokens.")


def test_the_same_zero_is_a_warning_where_the_switch_is_on(keypoints):
    found = {one.metric: one for one in of(analyze(keypoints(config={"cls_tokens": True})), "components")}
    assert found["loss_ce_room"].severity == "warning"


def test_a_lost_term_of_an_unknown_model_is_seen_in_a_metric_loggers_log():
    rows = tuple(
        Row(at, at, 0, "train", 0, {"loss": 9.0, "loss_depth": 1.0 if at < 5 else 0.0}) for at in range(1, 9)
    )
    analysis = analyze(Log("metriclogger-json", ("log",), rows, epochs_only=True))
    assert {one.metric for one in of(analysis, "lost-term")} == {"loss_depth"}


def test_what_earlier_layers_measure_in_validation_is_not_judged(keypoints):
    worse = {"class_error": lambda epoch: 6.0 - epoch, "class_error_0": lambda epoch: 1.0 + epoch}
    analysis = analyze(keypoints(val=worse))
    assert not [one for one in of(analysis, "validation-metric") if one.severity == "warning"]
    worse["class_error"] = worse["class_error_0"]
    found = of(analyze(keypoints(val=worse)), "validation-metric")
    assert [one.metric for one in found if "got worse" in one.message] == ["class_error"]


def test_a_category_loss_that_becomes_zero_is_a_lost_term(keypoints):
    log = keypoints(train={"loss_ce_room": lambda epoch: 0.5 if epoch < 3 else 0.0})
    assert {one.metric for one in of(analyze(log), "lost-term")} >= {"loss_ce_room"}


def test_unscaled_twins_are_no_components_of_their_own(keypoints):
    metrics = {one.metric for one in of(analyze(keypoints()), "components")}
    assert metrics == {
        *("loss_ce", "loss_ce_*", "loss_coords", "loss_coords_*", "loss_ce_room", "loss_ce_room_*"),
        *("class_error", "cardinality_error_unscaled"),
    }


# ---------------------------------------------------------------------- layers and balance


def test_a_later_layer_that_is_clearly_worse_is_a_warning(keypoints):
    worse = {"loss_coords_3": lambda epoch: 2 * (0.24 - 0.14 * epoch / 6)}
    finding = only(analyze(keypoints(train=worse)), "auxiliary")
    assert (finding.severity, finding.metric, finding.evidence["layer"]) == ("warning", "loss_coords_3", 3)
    assert "The decoder layers are out of order" in finding.message


def test_an_auxiliary_loss_that_does_not_decrease_is_a_warning(keypoints):
    found = of(analyze(keypoints(train={"loss_ce_0": lambda epoch: 1.2})), "auxiliary")
    assert [one.evidence["not_falling"] for one in found] == [["loss_ce_0"]]


@pytest.mark.parametrize(
    ("coords", "word"), [(lambda epoch: 0.2, "stall"), (lambda epoch: 0.2 + 0.02 * epoch, "rise")]
)
def test_coordinates_that_stay_behind_while_classes_are_learnt_are_a_warning(keypoints, coords, word):
    finding = only(analyze(keypoints(train={"loss_coords": coords})), "balance")
    assert finding.severity == "warning"
    assert f"the coordinate losses {word}" in finding.message


# ---------------------------------------------------------------------- progress and convergence


def test_a_log_of_epochs_knows_no_iterations(keypoints):
    analysis = analyze(keypoints(kind="json", epochs=5))
    assert (analysis.iterations, analysis.epochs, analysis.epochs_only) == (0, 5, True)
    assert [one.label for one in analysis.progression] == [
        "Epoch 1 (start)",
        *(f"Epoch {epoch}" for epoch in (2, 3, 4)),
        "Epoch 5 (latest)",
    ]
    assert only(analysis, "progress").message == "Not finished: epoch 5 of 6 (83.3% complete)."
    assert only(analysis, "progress").where == "epoch 5"


def test_the_last_epoch_of_a_log_of_epochs_is_the_end(keypoints):
    assert analyze(keypoints(kind="json")).progress.finished


@pytest.mark.parametrize(
    ("stop", "finished"), [(None, True), ((6, 39), True), ((6, 38), False), ((5, 39), False)]
)
def test_a_training_is_finished_when_its_last_epoch_is_summed_up(keypoints, stop, finished):
    analysis = analyze(keypoints(stop=stop), Expectation(epochs=6))
    assert analysis.progress.finished is finished
    assert only(analysis, "progress").blocking is not finished


@pytest.mark.parametrize(("last", "finished"), [(39, True), (30, False)])
def test_iteration_39_of_40_is_the_last_where_nothing_sums_up(keypoints, last, finished):
    log = keypoints(epochs=1)
    rows = tuple(row for row in log.rows if row.phase == "train" and row.iteration <= last)
    assert analyze(replace(log, rows=rows, max_epochs=1)).progress.finished is finished


def test_the_first_line_is_iteration_0(keypoints):
    analysis = analyze(keypoints())
    assert analysis.progression[0].label == "Epoch 1, iter 0 (start)"
    assert analysis.iterations == 240


def test_three_epochs_without_a_fall_are_a_warning():
    finding = only(analyze(summaries((9.0, None), (9.1, None), (9.0, None))), "convergence")
    assert finding.severity == "warning"
    assert "learning rate may be too low" in finding.advice


def test_two_epochs_are_too_few_to_judge():
    assert only(analyze(summaries((9.0, None), (9.1, None))), "convergence").severity == "info"


def test_few_lines_are_judged_by_the_means_of_epochs(keypoints):
    flat = {"loss": lambda epoch: 12.0}
    finding = only(analyze(keypoints(epochs=4, length=2, train=flat)), "convergence")
    assert (finding.severity, finding.evidence["points"]) == ("warning", 4)
    two = only(analyze(keypoints(epochs=2, length=2, train=flat)), "convergence")
    assert (two.severity, two.evidence["points"]) == ("info", 4)


def test_a_resume_that_began_again_with_the_first_epoch_blocks(keypoints):
    point = ResumePoint(path="checkpoint.pth", epoch=2)
    expectation = Expectation(epochs=6, resumed=(point,), ended=("done",))
    finding = only(analyze(keypoints(), expectation), "resume")
    assert "begins again with the first epoch" in finding.message


@pytest.mark.parametrize(("drop", "severity"), [(5, "info"), (2, "warning")])
def test_a_step_schedule_is_checked_where_the_arguments_tell_it(keypoints, drop, severity):
    assert only(analyze(keypoints(config={"lr_drop": drop})), "learning-rate").severity == severity


@pytest.mark.parametrize("config", [{"lr": 5e-4}, {"lr_drop": 0}, {"sched": "cosine", "lr_drop": 2}])
def test_a_schedule_that_is_not_sure_is_not_judged(keypoints, config):
    assert only(analyze(keypoints(config=config)), "learning-rate").severity == "info"


def test_clipping_is_told_by_the_trainers_argument(keypoints):
    finding = only(analyze(keypoints(train={"grad_norm": lambda epoch: 3.0})), "grad-norm")
    assert finding.evidence["clipped"] == 1.0


def test_a_mean_over_layers_is_not_called_by_the_name_of_the_last_one(keypoints):
    counts = {f"cardinality_error{layer}_unscaled": lambda epoch: 9.0 - epoch for layer in ("", "_0", "_1")}
    analysis = analyze(keypoints(train=counts))
    assert "cardinality_error*" in {one.metric for one in of(analysis, "components")}
    names = {item.name for section in analysis.explanation.sections for item in section.items}
    assert "cardinality_error*" in names
    assert not names & {"cardinality_error", "cardinality_error_unscaled"}
