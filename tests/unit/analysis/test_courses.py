"""Courses of losses and scores that an expert would call a fault, beside ones that only look alike."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import pytest

from trainrelay.analysis import analyze
from trainrelay.analysis.checks import CHECKS, FATAL, UNLESS
from trainrelay.records import Analysis, Expectation, Finding, Log, Marker, Row

PRAISE = (
    "healthy",
    "strong improvement",
    "steady",
    "not behind",
    "no sign of",
    "follows training",
    "all fall",
)
Series = Mapping[str, Sequence[float]]


def wavering(values: Sequence[float], share: float = 0.02) -> list[float]:
    noise = random.Random(1)  # the same in any order of tests
    return [value * (1 + share * (2 * noise.random() - 1)) for value in values]


def ramp(first: float, last: float, points: int) -> list[float]:
    return [first + (last - first) * at / (points - 1) for at in range(points)]


def judged(
    train: Series,
    val: Series | None = None,
    *,
    epochs: int | None = None,
    expectation: Expectation | None = None,
    **log,
) -> Analysis:
    """Of epochs: each point of a series is one."""
    rows: list[Row] = []
    for phase, series in (("train", train), ("val", val or {})):
        for at in range(max(map(len, series.values()), default=0)):
            now = {name: values[at] for name, values in series.items() if at < len(values)}
            rows.append(Row(at + 1, at + 1, 0, phase, 0, now))  # type: ignore[arg-type]
    rows.sort(key=lambda row: row.step)
    form = log.pop("format", "metriclogger-json")
    return analyze(Log(form, ("log",), tuple(rows), max_epochs=epochs, epochs_only=True, **log), expectation)


def of_check(analysis: Analysis, check: str) -> list[Finding]:
    return [one for one in analysis.findings if one.check == check]


def alarms(analysis: Analysis, check: str = "") -> list[Finding]:
    return [one for one in analysis.findings if one.severity != "info" and check in ("", one.check)]


# ---------------------------------------------------------------------- the total loss


def test_one_high_first_point_is_no_convergence():
    (finding,) = alarms(judged({"loss": [12.0, *wavering([6.9] * 19, 0.002)]}), "convergence")
    assert "hardly moves: 12 at first, then 6.9" in finding.message
    assert not alarms(judged({"loss": [12.0, *wavering(ramp(6.9, 3.0, 60))]}))


def test_a_loss_that_hardly_moves_is_a_fault_early_and_none_late():
    slow = wavering(ramp(0.63, 0.616, 110), 0.01)
    assert "hardly moves" in alarms(judged({"loss": slow}, epochs=1000), "convergence")[0].message
    assert not alarms(judged({"loss": slow}, epochs=115))


def test_a_loss_that_does_not_show_what_is_learned_is_judged_by_the_score():
    flat = [9.0, *wavering([2.0] * 19, 0.002)]
    assert alarms(judged({"loss": flat}, {"mAP": [0.1] * 19 + [0.1001]}), "convergence")
    assert not alarms(judged({"loss": flat}, {"mAP": ramp(0.1, 0.5, 20)}))


def test_a_hump_is_a_fault():
    hump = [*ramp(8, 2, 30), *ramp(2, 6, 10), *ramp(6, 1.8, 30)]
    (finding,) = alarms(judged({"loss": wavering(hump)}), "convergence")
    assert "rose in between: 2, then 5.94" in finding.message
    assert finding.where is not None
    assert 35 <= int(finding.where.removeprefix("epoch ")) <= 45
    draw = random.Random(3)
    assert not alarms(judged({"loss": [draw.lognormvariate(2 - at / 60, 0.5) for at in range(120)]}))


@pytest.mark.parametrize("lines", [1, 2, 3, 5])
def test_a_spike_of_a_few_lines_is_no_hump(lines: int):
    calm = wavering(ramp(8, 2, 160))
    spiked = [*calm[:80], *[6 * value for value in calm[80 : 80 + lines]], *calm[80 + lines :]]
    found = resumed([1e-4] * 160, losses=spiked)
    assert not alarms(found, "convergence")
    assert of_check(found, "spikes")
    lost = resumed([1e-4] * 160, losses=[math.nan, *spiked[1:]])
    assert not alarms(lost, "convergence"), "a NaN elsewhere does not change that"
    hump = [*calm[:80], *[6 * value for value in calm[80:92]], *calm[92:]]
    assert "rose in between" in alarms(resumed([1e-4] * 160, losses=hump), "convergence")[0].message
    # Of epochs, two in a row are no spike.
    assert bool(alarms(judged({"loss": spiked[60:110]}), "convergence")) is (lines > 1)


@pytest.mark.parametrize(("ends", "found"), [((0.15, 0.40), 0), ((0.38, 0.40), 1)])
def test_of_few_points_the_last_one_alone_is_no_divergence(ends: tuple[float, ...], found: int):
    assert len(of_check(judged({"loss": [0.29, 0.2, 0.25, *[0.15, 0.16] * 6, *ends]}), "divergence")) == found


def test_a_divergence_is_where_it_began():
    (finding,) = alarms(judged({"loss": wavering([*ramp(8, 2, 30), 3, 5, 9, *[30.0] * 20])}), "divergence")
    assert finding.where in ("epoch 31", "epoch 32")


def test_a_term_that_rises_from_its_lowest_level_is_a_fault_though_it_is_below_its_start():
    rising, falling = wavering([*ramp(2, 0.5, 40), *ramp(0.5, 1.2, 40)]), wavering(ramp(8, 2, 80))
    (finding,) = alarms(judged({"loss_a": rising, "loss_b": falling}), "components")
    assert (finding.metric, finding.where is not None) == ("loss_a", True)
    assert 37 <= int(str(finding.where).removeprefix("epoch ")) <= 44
    steady = wavering([*ramp(2, 0.5, 40), *ramp(0.5, 0.6, 40)])
    assert not alarms(judged({"loss_a": steady, "loss_b": falling}))


@pytest.mark.parametrize(("last", "alarm"), [(0.305, True), (0.33, False)])
def test_scores_that_hardly_move_are_a_fault(last: float, alarm: bool):
    still = judged({"loss": wavering(ramp(8, 2, 20))}, {"mAP": wavering(ramp(0.3, last, 20), 0.005)})
    assert bool(alarms(still, "validation-metric")) is alarm


def test_scores_of_a_model_that_was_trained_before_may_hardly_move():
    scores, before = {"mAP": wavering(ramp(0.3, 0.305, 20), 0.005)}, Expectation(initial_checkpoint="one.pth")
    analysis = judged({"loss": wavering(ramp(8, 2, 20))}, scores, expectation=before)
    assert not alarms(analysis, "validation-metric")
    assert any("hardly moves" in one.message for one in of_check(analysis, "validation-metric"))
    nothing = judged({"loss": wavering(ramp(8, 2, 20))}, {"mAP": [0.0] * 20}, expectation=before)
    assert alarms(nothing, "validation-metric")


@pytest.mark.parametrize(("factor", "alarm"), [(1.4, True), (1.2, False)])
def test_slower_steps_are_found_where_they_begin(factor: float, alarm: bool):
    times = wavering([0.5] * 61 + [0.5 * factor] * 40)
    found = of_check(judged({"loss": ramp(8, 2, 101), "time": times}), "step-time")
    assert [one.where for one in found] == (["epoch 62"] if alarm else [])


@pytest.mark.parametrize(("share", "alarm"), [(0.5, True), (0.2, False)])
def test_waiting_for_data_is_found(share: float, alarm: bool):
    series = {"loss": ramp(8, 2, 40), "time": wavering([1.0] * 40), "data_time": wavering([share] * 40)}
    assert bool(of_check(judged(series), "data-time")) is alarm


def test_memory_that_grows_to_the_end_is_found_and_a_cache_that_settles_is_not():
    loss = ramp(8, 2, 100)
    (finding,) = alarms(judged({"loss": loss, "memory": [9000.0] * 30 + ramp(9000, 14000, 70)}), "memory")
    assert finding.where in ("epoch 30", "epoch 31", "epoch 32", "epoch 33")
    assert not alarms(judged({"loss": loss, "memory": ramp(6000, 9000, 50) + [9000.0] * 50}))


def test_a_short_explosion_is_critical():
    analysis = judged({"loss": [1.4, 2.9, 212, 41, 4421]})
    assert (analysis.verdict.kind, alarms(analysis)[0].check) == ("failed", "divergence")
    assert "exploded: 1.4 at first, 4421 at the end" in analysis.verdict.reason


def test_an_explosion_at_the_end_of_a_long_log_is_critical():
    assert judged({"loss": [*ramp(4, 2, 200), 60, 80, 300]}).verdict.kind == "failed"
    assert judged({"loss": [*ramp(4, 2, 200), 60, 2, 2]}).verdict.kind == "healthy"


NAN = math.nan


@pytest.mark.parametrize(
    ("course", "kind"),
    [
        ([NAN] * 3 + [0.5] * 37, "healthy"),  # no episode has ended yet
        ([NAN] * 40, "healthy"),
        ([0.5] * 20 + [NAN] * 20, "warning"),
    ],
)
def test_a_metric_that_is_no_number_at_first_or_ever_is_none_to_alarm(course, kind):
    assert judged({"loss": ramp(4, 2, 40), "explained_variance": course}).verdict.kind == kind
    lost = judged({"loss": [*ramp(4, 2, 39), NAN], "explained_variance": course})
    assert lost.verdict.kind == "failed"
    assert judged({"explained_variance": course[-20:], "mse": [NAN] * 20}).verdict.kind == "warning"


GAINED = wavering(ramp(1, 20, 20))


@pytest.mark.parametrize(
    ("loss", "reward", "kind"),
    [
        ([*ramp(1, 2, 37), 5e4, 5e4, 5e4], wavering(ramp(1, 20, 40)), "failed"),
        (ramp(1, 60, 40), wavering(ramp(1, 20, 40)), "healthy"),
        (ramp(1, 60, 40), wavering([9.0] * 40, 0.5), "healthy"),
        (ramp(1, 60, 40), [*GAINED, *wavering(ramp(20, 1, 20))], "warning"),  # what is asked may be harder
    ],
)
def test_beside_rewards_a_loss_may_rise_unless_it_explodes_or_they_are_lost(loss, reward, kind):
    assert judged({"loss": loss, "reward": reward}).verdict.kind == kind


@pytest.mark.parametrize(
    ("course", "found"),
    [
        ([*ramp(1, 0.5, 30), *[0.0] * 5], True),
        ([*ramp(1, 0.5, 30), 0.0, *[0.5] * 5], False),  # a batch without a target
        ([*ramp(1, 0.002, 20), *[0.02, 0.0] * 10], False),  # it is learned, and rounded
    ],
)
def test_a_term_of_an_unknown_model_is_lost_if_it_is_zero_at_once_and_stays_so(course, found):
    analysis = judged({"loss": ramp(4, 2, len(course)), "part_loss": course})
    assert bool(alarms(analysis, "lost-term")) == found


@pytest.mark.parametrize("name", ["mean_dice", "dice", "dice_score", "f1", "auc", "top1"])
def test_scores_of_segmentation_and_classification_are_scores(name):
    scores = wavering([0.3] * 5 + [0.1] * 15)
    assert alarms(judged({"loss": ramp(4, 2, 20)}, {name: scores}), "validation-metric")


def test_a_total_that_becomes_exactly_zero_is_critical():
    analysis = judged({"loss": [*ramp(4, 2, 30), *[0.0] * 6]})
    finding = alarms(analysis, "lost-term")[0]
    assert (finding.severity, finding.where, analysis.verdict.kind) == ("critical", "epoch 31", "failed")
    assert not alarms(judged({"loss": [*ramp(0.009, 0.0001, 30), *[0.0] * 6]}), "lost-term")  # rounding


def test_a_few_spikes_in_thousands_of_lines_are_a_note():
    few = wavering(ramp(0.03, 0.02, 3000))
    few[500] = few[900] = few[1500] = few[2500] = 0.08
    assert not alarms(judged({"loss": few}))
    few[700] = 0.5
    assert alarms(judged({"loss": few}), "spikes")
    assert not alarms(judged({"loss": [60, 59, 58, *few]}), "spikes")  # near zero a loss doubles easily


# ---------------------------------------------------------------------- validation


def test_a_validation_loss_that_does_not_move_is_a_fault_unless_a_score_rises():
    train = {"loss": ramp(0.035, 0.011, 14)}
    still = {"loss": [0.0132, 0.0138, 0.0155, 0.0154, 0.0137, 0.0133, 0.0123, 0.0131, 0.0122, 0.0132]}
    assert "does not move: 0.0132 -> 0.0132" in alarms(judged(train, still), "validation")[0].message
    assert not alarms(judged(train, {**still, "acc1": ramp(50, 80, 10)}))
    assert not alarms(judged(train, {"loss": ramp(0.0132, 0.0112, 10)}))


@pytest.mark.parametrize(
    ("name", "values", "epochs", "warned"),
    [
        ("pts_bbox_NuScenes/mAP", [0.0], 10, True),  # its only evaluation, at the end
        ("pts_bbox_NuScenes/mAP", [0.0], 40, False),  # a quarter of the training: still early
        ("mIoU", [0.0] * 3, 40, True),
        ("bbox_mAP", [0.0, 0.0, 0.01], 10, False),
        ("mIoU", [0.0725] * 4, 10, True),  # one class everywhere
        ("acc1", [100.0] * 4, 10, False),
        ("AP (S)", [0.0] * 4, 10, False),  # a data set without small objects
        ("class_error", [0.0] * 4, 10, False),  # a single class
        ("icc", [-1.0] * 4, 10, False),  # nobody knows which way is better
    ],
)
def test_a_score_that_never_rises_is_a_fault(name, values, epochs, warned):
    others = {} if name != "AP (S)" else {"AP": [0.1, 0.2, 0.3, 0.4]}
    analysis = judged({"loss": ramp(5, 2, 10)}, {name: values, **others}, epochs=epochs)
    assert bool(alarms(analysis, "validation-metric")) == warned
    if warned:
        assert "Not behind" not in "".join(one.message for one in analysis.findings)


def test_scores_that_waver_or_are_not_the_first_one_have_not_got_worse():
    train, worse = {"loss": ramp(5, 2, 20)}, [*ramp(0.1, 0.5, 10), *ramp(0.5, 0.4, 10)]
    assert alarms(judged(train, {"mAP": worse}), "validation-metric")
    assert not alarms(judged(train, {"mAP": ramp(0.1, 0.5, 20), "AP .75": worse}))
    wavers = [0.3 + (0.1 if at % 2 else 0.0) for at in range(20)]
    assert not alarms(judged(train, {"mAP": [*wavers[:-2], 0.42, 0.3, 0.4, 0.33]}))


def test_a_count_without_gradient_is_no_score():
    wobbles = {"cardinality_error_unscaled": [0.2, 0.07, 0.08, 0.09, 0.1, 0.12]}
    assert not alarms(judged({"loss": ramp(5, 2, 6)}, wobbles))


def test_a_class_loss_may_rise_while_what_measures_it_rises():
    rises = {"loss": ramp(8, 4, 20), "loss_ce": ramp(0.5, 0.7, 20), "loss_giou": ramp(1.5, 0.5, 20)}
    rises |= {"loss_bbox": ramp(1.5, 0.3, 20)}
    assert not alarms(judged(rises, {"coco_eval_bbox[0]": ramp(0.01, 0.4, 20)}))
    assert {one.check for one in alarms(judged(rises))} == {"components", "balance"}


# ---------------------------------------------------------------------- components, and their findings


def test_the_boxes_of_a_second_stage_may_rise():
    rises = {"loss": ramp(2.2, 0.2, 30), "loss_bbox": ramp(0.02, 0.06, 30)}
    proposals = {"loss_rpn_cls": ramp(0.4, 0.1, 30), "loss_rpn_bbox": ramp(0.1, 0.05, 30)}
    assert not alarms(judged({**rises, **proposals}, format="mmcv-json"))
    assert alarms(judged(rises, format="mmcv-json"), "components")


def test_many_components_that_rise_are_one_finding():
    many = {f"head{at}.loss_x": ramp(1, 1.3 + at / 100, 20) for at in range(30)}
    found = alarms(judged({"loss": ramp(50, 45, 20), **many}), "components")
    assert len(found) == 1
    assert "the same holds for 29 more." in found[0].message
    assert len(found[0].evidence["metrics"]) == 30


def test_many_metrics_that_are_nan_from_one_line_on_are_one_finding():
    nan = float("nan")
    many = {f"head{at}.loss_x": [1.0, 1.0, nan] for at in range(30)}
    (finding,) = alarms(judged({"loss": [5.0, 4.0, nan], **many}), "non-finite")
    assert finding.metric == "loss"
    assert "the same holds for 30 more." in finding.message


@pytest.mark.parametrize(("value", "check"), [(0.0, "lost-term"), (3.4e35, "clamped-infinity")])
def test_many_terms_that_nan_to_num_replaced_on_one_line_are_one_finding(value: float, check: str):
    many = {f"head{at}.loss_x": [*wavering([1.0] * 20), *[value] * 6] for at in range(30)}
    (finding,) = alarms(judged({"loss": [*wavering([30.0] * 20), *[30 * value] * 6], **many}), check)
    assert (finding.metric, finding.severity, finding.where) == ("loss", "critical", "epoch 21")
    assert "the same holds for 30 more." in finding.message
    one = {"head1.loss_x": [*wavering([1.0] * 20), *[value] * 6], "head2.loss_x": wavering([1.0] * 26)}
    (finding,) = alarms(judged({"loss": wavering([30.0] * 26), **one}), check)
    assert finding.metric == "head1.loss_x"
    assert "more" not in finding.message


def test_after_a_critical_finding_nothing_is_praised():
    falls = {f"head{at}.loss_x": ramp(2, 0.5, 30) for at in range(3)}
    grows = {"loss": [*ramp(8, 2, 25), *ramp(40, 90, 5)], "grad_norm": ramp(3, 2, 30), **falls}
    analysis = judged(grows, {"loss": ramp(8, 3, 30), "mAP": ramp(0.1, 0.5, 30)})
    assert analysis.verdict.kind == "failed"
    said = " ".join(one.message for one in analysis.findings).lower()
    assert not [words for words in PRAISE if words in said]
    well = judged({"loss": ramp(8, 2, 30), **falls}, {"loss": ramp(8, 3, 30), "mAP": ramp(0.1, 0.5, 30)})
    assert [words for words in PRAISE if words in " ".join(one.message for one in well.findings).lower()]


def test_an_alarm_says_when_it_would_be_wrong():
    assert all(one.unless for one in alarms(judged({"loss": [1.4, 2.9, 212, 41, 4421]})))
    names = {check.__name__.replace("_", "-") for check in (*FATAL, *CHECKS)}
    assert names - {"lost-terms", "redone", "gaps", "slow-patterns"} <= set(UNLESS)


@pytest.mark.parametrize(("last", "alarm"), [(0.956, False), (0.93, True)])
def test_a_score_near_its_top_is_judged_by_what_is_left(last: float, alarm: bool):
    """From 0.92 there are 4 % to 0.956, but almost half of what was wrong."""
    scores = [0.92, *([last] * 19)]
    assert bool(alarms(judged({"loss": wavering(ramp(8, 2, 20))}, {"mIoU": scores}))) is alarm
    percents = [100 * value for value in scores]
    assert bool(alarms(judged({"loss": wavering(ramp(8, 2, 20))}, {"mIoU": percents}))) is alarm


def test_a_clock_is_no_step_time():
    """Ultralytics' `time` counts from the start of the training."""
    clock = [60.0 * at for at in range(1, 101)]
    assert not of_check(judged({"loss": ramp(8, 2, 100), "time": clock}), "step-time")


def test_the_boxes_of_detectron2s_heads_may_rise():
    """As mmdet's loss_bbox: more proposals begin to hold an object."""
    series = {"loss_cls": wavering(ramp(2, 0.3, 60)), "loss_rpn_cls": wavering(ramp(0.3, 0.03, 60))}
    rising = {
        **series,
        "loss_box_reg": wavering(ramp(0.4, 0.7, 60)),
        "loss_rpn_loc": wavering(ramp(0.05, 0.03, 60)),
    }
    total = [sum(values) for values in zip(*rising.values(), strict=True)]
    assert not alarms(judged({"total_loss": total, **rising}))
    cascade = {**series, "loss_box_reg_stage1": wavering(ramp(0.4, 0.7, 60))}
    assert not alarms(judged({"total_loss": total, **cascade}))


@pytest.mark.parametrize(("score", "alarm"), [(ramp(0.1, 0.6, 40), False), ([0.1] * 40, True)])
def test_a_wide_gap_is_no_fault_while_scores_rise_and_the_validation_loss_keeps_its_best(score, alarm):
    """A small data set: training passes validation, which still learns."""
    train, val = [*ramp(18, 1.5, 40)], [*ramp(15, 3.0, 38), 3.0, 3.05]
    analysis = judged({"loss": train}, {"loss": val, "mAP": score})
    assert bool(alarms(analysis, "validation")) is alarm


@pytest.mark.parametrize(("factor", "told"), [(10, True), (1.05, False)])
def test_a_rate_that_rises_where_a_training_was_resumed_is_said(factor: float, told: bool):
    rows = [
        Row(at, at, 0, "train", int(at > 30), {"loss": 5 - at / 20, "lr": 1e-4 * (factor if at > 30 else 1)})
        for at in range(1, 61)
    ]
    (finding,) = of_check(analyze(Log("made", ("log",), tuple(rows), segments=2)), "learning-rate")
    assert ("rose from 0.0001 to 0.001 at epoch 31, iter 0, where it was resumed" in finding.message) is told


@pytest.mark.parametrize(("step", "alarm"), [(0.0002, True), (0.002, False)])
def test_a_score_that_creeps_up_over_a_few_evaluations_hardly_moves(step: float, alarm: bool):
    scores = [0.3189 + step * at for at in range(5)]
    assert bool(alarms(judged({"loss": wavering(ramp(8, 2, 20))}, {"amota": scores}))) is alarm


def resumed(
    rates: Sequence[float], at: Sequence[int] = (), losses: Sequence[float] | None = None
) -> Analysis:
    """Of lines, each `at` the first of a start that resumed there."""
    losses = losses or wavering(ramp(8, 2, len(rates)))
    rows = (
        Row(10 * n, 1, 10 * n, "train", sum(n > begin for begin in at), {"loss": loss, "lr": rate})
        for n, (loss, rate) in enumerate(zip(losses, rates, strict=True), 1)
    )
    return analyze(Log("rows", ("log",), tuple(rows), iters_per_epoch=10 * len(rates), max_epochs=9))


WARM = [1e-5, 4e-5, 7e-5, 1e-4]
COSINE = [5e-5 * (1 + math.cos(math.pi * at / 20)) for at in range(21)]


@pytest.mark.parametrize(
    ("rates", "at", "where"),
    [
        ([*WARM, *[1e-4] * 20, *WARM, *[1e-4] * 20], [24], "epoch 1, iter 250"),
        ([*WARM, *[1e-4] * 20] * 3, [24, 48], "epoch 1, iter 250"),  # each time
        ([*WARM, *[1e-4] * 20, *WARM, *[1e-4] * 20], [], "epoch 1, iter 250"),  # nobody says that it resumed
        ([*WARM, *[1e-4] * 20, *[1e-4] * 20], [24], None),  # restored
        ([*WARM, *COSINE, *COSINE], [25], None),  # warm restarts
        ([*WARM, *COSINE, *COSINE, *COSINE], [], None),
        ([*WARM, *COSINE, 3e-5, 7e-5, 1e-4, *COSINE], [25], None),  # each with a warm-up
        ([*ramp(1e-5, 1e-4, 15), *ramp(1e-4, 1e-6, 35)], [30], None),  # one cycle
        ([*WARM, *[1e-4] * 20, *[1e-5] * 20], [24], None),  # dropped
        ([1e-4, 5e-5, 1e-5, 4e-5, 7e-5, 1e-4] * 4, [12], None),  # cycles
    ],
)
def test_a_learning_rate_that_is_back_in_its_warm_up_after_a_resume_is_found(
    rates: Sequence[float], at: Sequence[int], where: str | None
):
    found = alarms(resumed(rates, at), "learning-rate")
    assert [one.where for one in found] == ([where] if where else [])


@pytest.mark.parametrize(
    ("step_s", "saves", "hours"),
    [
        (3.0, (4000, 8000, 12000), 4000 * 3 / 3600),
        (3.0, (2000, 4000), None),
        (3.0, (), None),  # none that the log shows
        (None, (4000, 8000), None),
    ],
)
def test_how_much_a_crash_costs_is_told_where_saves_and_times_are_known(
    step_s: float | None, saves: Sequence[int], hours: float | None
):
    times = {} if step_s is None else {"time": step_s}
    losses = wavering(ramp(8, 2, 300))
    rows = [
        Row(50 * at, 1, 50 * at, "train", 0, {"loss": loss, **times}) for at, loss in enumerate(losses, 1)
    ]
    markers = tuple(Marker("saved", "", iteration=at) for at in saves)
    log = Log("mmcv-text", ("log",), tuple(rows), markers, iters_per_epoch=15000, max_epochs=1)
    found = of_check(analyze(log), "checkpoint-cadence")
    assert [one.evidence["hours"] for one in found] == ([pytest.approx(hours, rel=0.02)] if hours else [])
    assert not of_check(analyze(log, Expectation(saves_steps=True)), "checkpoint-cadence")


@pytest.mark.parametrize(("top", "wanted"), [(225_192.6, ["warning"]), (1.6, [])])
def test_a_short_log_that_blew_up_and_came_back_is_not_said_to_have_no_spikes(top: float, wanted: list[str]):
    found = judged({"loss": [0.62, 1.01, top, 78_203 * top, 4.2][: 5 if wanted else 3]})
    assert [one.severity for one in of_check(found, "spikes")] == wanted
