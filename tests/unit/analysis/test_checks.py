"""Each check finds what it is for, and leaves a healthy training alone."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest

from support.mmcv_logs import write_mmcv_json_log, write_mmcv_log
from trainrelay.analysis import analyze
from trainrelay.analysis.readers import read
from trainrelay.records import Expectation, InitialWeights, ResumePoint
from trainrelay.report import analysis_markdown

POINT = ResumePoint(path="work_dir/latest.pth", epoch=1, iteration=100)


@pytest.fixture
def judged(tmp_path):
    """Writes one log per set of options and analyzes them together."""

    def judge(*starts, expectation=None, edit=lambda text: text):
        paths = []
        for number, options in enumerate(starts or ({},)):
            path = write_mmcv_log(tmp_path / f"{number}.log", **options)
            path.write_text(edit(path.read_text()))
            paths.append(path)
        return analyze(read(paths), expectation)

    return judge


def only(analysis, check):
    found = [finding for finding in analysis.findings if finding.check == check]
    assert len(found) == 1, [finding.message for finding in analysis.findings]
    return found[0]


def none_of(analysis, *checks):
    assert not [finding for finding in analysis.findings if finding.check in checks]


def ramp(*points):
    """A course through (step, value) points, constant outside them."""

    def course(step):
        if step <= points[0][0]:
            return points[0][1]
        for (left, low), (right, high) in itertools.pairwise(points):
            if step <= right:
                return low + (high - low) * (step - left) / (right - left)
        return points[-1][1]

    return course


def total(*points, **options):
    return {"epochs": 4, "metrics": {"loss": ramp(*points)}, **options}


@pytest.mark.parametrize("stage", [1, 2])
def test_a_healthy_training_is_healthy(judged, stage):
    analysis = judged({"stage": stage, "epochs": 4}, expectation=Expectation(epochs=4, backend="gloo"))
    assert analysis.verdict.kind == "healthy"
    assert {finding.severity for finding in analysis.findings} == {"info"}
    assert not any(finding.blocking for finding in analysis.findings)


def test_a_finished_training_says_so(judged):
    analysis = judged({"epochs": 2}, expectation=Expectation(epochs=2))
    assert only(analysis, "progress").message == "All 2 epochs were trained."
    assert analysis.progress.finished


def test_an_unfinished_training_blocks_where_an_end_is_expected(judged):
    finding = only(judged({"epochs": 3, "stop": (2, 40)}, expectation=Expectation(epochs=3)), "progress")
    assert (finding.severity, finding.blocking) == ("critical", True)
    assert "epoch 2 of 3, iter 40/100 (46.7% complete)" in finding.message


def test_an_unfinished_training_is_no_fault_where_nobody_expects_its_end(judged):
    assert judged({"epochs": 3, "stop": (2, 40)}).verdict.kind == "healthy"


def test_an_error_at_the_end_of_an_unfinished_log_is_named(judged):
    analysis = judged({"epochs": 3, "stop": (2, 40), "error": "RuntimeError: boom"})
    assert "RuntimeError: boom" in only(analysis, "progress").message
    assert analysis.verdict.kind == "warning"


def test_a_training_that_a_person_stopped_is_no_failure(judged):
    """What the ranks print when they are ended is not its cause."""
    error = "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 15\n"
    analysis = judged(
        {"epochs": 2},
        expectation=Expectation(epochs=4, ended=("killed", "interrupted")),
        edit=lambda text: text + error,
    )
    finding = only(analysis, "progress")
    assert (finding.severity, finding.blocking) == ("warning", False)
    assert finding.message.startswith("Stopped on request: epoch 2")
    assert "signal" not in finding.message


def test_cut_between_the_last_line_and_the_last_checkpoint_is_unfinished(judged):
    analysis = judged(
        {"epochs": 2},
        expectation=Expectation(epochs=2),
        edit=lambda text: "".join(line for line in text.splitlines(True) if "at 2 epochs" not in line),
    )
    assert not analysis.progress.finished
    assert only(analysis, "progress").blocking


def test_more_epochs_expected_than_the_log_was_started_with_is_unfinished(judged):
    assert only(judged({"epochs": 2}, expectation=Expectation(epochs=3)), "progress").blocking


def test_a_log_without_any_iteration_fails(judged):
    analysis = judged({"stop": (0, 0), "error": "ImportError: no mmdet3d"})
    assert analysis.verdict.kind == "failed"
    assert "ImportError: no mmdet3d" in only(analysis, "progress").message


@pytest.mark.parametrize(
    "points",
    [
        [(10, 100.0), (200, 50.0), (400, 180.0)],  # far above the start
        [(10, 100.0), (200, 10.0), (360, 95.0), (400, 95.0)],  # fell, then blew up again
    ],
)
def test_a_total_loss_that_blows_up_blocks(judged, points):
    analysis = judged(total(*points))
    finding = only(analysis, "divergence")
    assert (finding.severity, finding.blocking, analysis.verdict.kind) == ("critical", True, "failed")
    none_of(analysis, "convergence")


@pytest.mark.parametrize("seed", range(5))
def test_a_fine_tuning_that_wavers_at_its_floor_does_not_diverge(judged, seed):
    """Single batches of a loss without a trend."""
    draw = random.Random(seed)
    analysis = judged({"epochs": 4, "metrics": {"loss": lambda _: draw.lognormvariate(-4.2, 0.8)}})
    none_of(analysis, "divergence")


def test_a_total_loss_that_does_not_fall_is_a_warning(judged):
    finding = only(judged(total((10, 100.0), (400, 100.0))), "convergence")
    assert (finding.severity, finding.blocking) == ("warning", False)


def test_a_total_loss_that_rises_again_is_a_warning(judged):
    analysis = judged(total((10, 100.0), (300, 50.0), (360, 70.0), (400, 70.0)))
    assert "rises again: 52.5 at best, 70 now" in only(analysis, "convergence").message
    none_of(analysis, "divergence")


def test_a_negative_total_loss_that_falls_is_healthy(judged):
    analysis = judged(total((10, -100.0), (400, -300.0)))
    assert "from ~-100 to ~-2" in only(analysis, "convergence").message
    none_of(analysis, "divergence")


def test_a_component_that_rises_is_a_warning(judged):
    analysis = judged({"epochs": 4, "metrics": {"map.loss_cls": ramp((10, 0.5), (400, 0.9))}})
    finding = next(f for f in analysis.findings if f.metric == "map.loss_cls")
    assert finding.severity == "warning"
    assert analysis.verdict.kind == "warning"


def test_a_component_that_was_switched_on_is_no_warning(judged):
    course = ramp((10, 0.0), (200, 0.0), (201, 0.5), (400, 0.4))
    analysis = judged({"epochs": 4, "metrics": {"l1_loss": course}})
    assert {one.severity for one in analysis.findings if one.metric == "l1_loss"} <= {"info"}


def test_past_trajectories_of_zero_are_no_design_in_stage_2(judged):
    zero = {f"track.frame_{f}_loss_past_trajs_{n}": lambda step: 0.0 for f in range(3) for n in range(6)}
    analysis = judged({"stage": 2, "epochs": 4, "metrics": zero})
    finding = next(f for f in analysis.findings if f.metric == "track.*loss_past_trajs*")
    assert finding.severity == "warning"


def test_a_term_that_became_exactly_zero_is_a_warning_at_its_first_place(judged):
    course = ramp((10, 0.001), (20, 1.2), (149, 0.9), (150, 0.0))  # that of a model that is known
    finding = only(judged({"metrics": {"map.loss_cls": course}}), "lost-term")
    assert (finding.metric, finding.where, finding.severity) == (
        "map.loss_cls",
        "epoch 2, iter 50",
        "warning",
    )


def test_a_small_term_that_rounds_to_zero_is_no_lost_term(judged):
    none_of(judged({"metrics": {"map.loss_cls": ramp((10, 0.009), (100, 0.0))}}), "lost-term")


@pytest.mark.parametrize("name", ["loss", "map.loss_iou", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_inf_block_with_their_first_place(judged, name, value):
    analysis = judged({"metrics": {name: lambda step: value if step >= 130 else 50.0 / (step + 1)}})
    finding = next(f for f in analysis.findings if f.check == "non-finite" and f.metric == name)
    assert (finding.severity, finding.blocking) == ("critical", True)
    assert finding.where == "epoch 2, iter 30"
    assert finding.evidence["places"] == 8
    assert analysis.verdict.kind == "failed"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_fall_before_nan_or_inf_is_no_health(judged, value):
    """Neither in the finding of the total, nor in the line of a component, nor among the good signs."""
    names = ("loss", "map.loss_cls", "map.loss_iou")
    falls = dict.fromkeys(names, lambda step: value if step >= 380 else 50.0 - step / 10)
    analysis = judged({"epochs": 4, "metrics": falls})
    message = only(analysis, "convergence").message
    assert "Healthy" not in message
    assert message.endswith("; 3 logged values are NaN or Inf.")
    about = [f for f in analysis.findings if f.check == "components" and f.metric in names]
    assert len(about) == 2
    assert all(f.message.endswith("lower; 3 logged values are NaN or Inf).") for f in about)
    signs = [sign for section in analysis.explanation.sections for sign in section.signs]
    health = [sign for sign in signs if sign.text.startswith(("Healthy convergence", "Map losses"))]
    assert [sign.seen for sign in health] == [False, False]
    assert all("logged values are NaN or Inf" in sign.evidence for sign in health)


def test_an_infinity_that_was_clamped_to_a_number_blocks(judged):
    course = {"map.loss_iou": lambda step: 3.4e37 if step == 150 else 1.0}
    finding = only(judged({"metrics": {**course, "loss": ramp((10, 9.0), (200, 5.0))}}), "clamped-infinity")
    assert (finding.severity, finding.blocking, finding.where) == ("critical", True, "epoch 2, iter 50")


def test_a_small_loss_that_rises_in_between_is_a_warning(judged):
    """As of heatmaps, which begin at 0.002."""
    course = {
        "loss": ramp(
            (10, 0.009), (20, 0.0022), (80, 0.002), (100, 0.007), (120, 0.007), (140, 0.002), (200, 0.001)
        )
    }
    assert "rose in between" in only(judged({"metrics": course}), "convergence").message


@pytest.mark.parametrize("end", [0.0003, 0.0011])
def test_a_loss_that_begins_with_exactly_zero_has_no_small_level_to_explode_from(judged, end):
    """As TRL's GRPO prints it."""
    analysis = judged({"metrics": {"loss": lambda step: 0.0 if step <= 170 else end}})
    assert [one for one in analysis.findings if one.severity == "critical"] == []


def test_a_small_total_that_is_zero_to_the_end_is_critical(judged):
    lost = judged({"metrics": {"loss": lambda step: 0.0012 if step < 120 else 0.0}})
    assert only(lost, "lost-term").severity == "critical"
    back = judged({"metrics": {"loss": lambda step: 0.0 if step in (120, 130, 140) else 0.0012}})
    none_of(back, "lost-term")


def test_the_share_of_clipped_steps_is_told(judged):
    finding = only(judged({"metrics": {"grad_norm": lambda step: 20.0 if step % 20 else 50.0}}), "grad-norm")
    assert finding.evidence["clipped"] == 0.5
    assert "50% of the logged steps were clipped at 35" in finding.message


@pytest.mark.parametrize(("end", "word"), [(5000.0, "grew"), (1e-4, "vanished")])
def test_an_exploding_or_vanishing_gradient_is_a_warning(judged, end, word):
    course = lambda step: 30.0 if step < 180 else end  # noqa: E731
    finding = only(judged({"metrics": {"grad_norm": course}}), "grad-norm")
    assert finding.severity == "warning"
    assert word in finding.message


def test_a_gradient_that_began_high_explodes_above_where_it_settled(judged):
    course = {"grad_norm": ramp((10, 300.0), (40, 30.0), (150, 30.0), (160, 600.0))}
    assert "but grew from 30 to 600" in only(judged({"metrics": course}), "grad-norm").message


def test_a_learning_rate_off_its_schedule_is_a_warning_with_both_numbers(judged):
    finding = only(judged({"metrics": {"lr": lambda step: 2e-4}}), "learning-rate")
    assert finding.severity == "warning"
    assert finding.where == "epoch 1, iter 10"
    assert finding.evidence["seen"] == 2e-4
    # mmcv: warm-up from a third, at the rate set before the tenth iteration
    assert finding.evidence["expected"] == pytest.approx(2e-4 * (1 - (1 - 9 / 50) * (1 - 1 / 3)))


def test_a_first_parameter_group_with_a_rate_of_its_own_fits_the_schedule(judged):
    tenth = {"lr": lambda step: 2e-5}
    edit = lambda text: text.replace("policy='CosineAnnealing'", "policy='fixed'").replace("'linear'", "None")  # noqa: E731
    assert only(judged({"metrics": tenth}, edit=edit), "learning-rate").severity == "info"


def test_a_flat_loss_early_in_the_training_is_a_warning(judged):
    finding = only(judged(total((10, 100.0), (150, 50.0), (250, 49.95), stop=(3, 50))), "plateau")
    assert finding.severity == "warning"


def test_a_steady_descent_is_no_plateau(judged):
    none_of(judged(total((10, 100.0), (400, 20.0))), "plateau")


@pytest.mark.parametrize(("places", "severity"), [((150,), "info"), ((150, 200, 250), "warning")])
def test_loss_spikes_are_counted(judged, places, severity):
    base = ramp((10, 60.0), (400, 40.0))
    finding = only(
        judged(total((0, 0)) | {"metrics": {"loss": lambda s: 300.0 if s in places else base(s)}}), "spikes"
    )
    assert (finding.severity, finding.evidence["count"]) == (severity, len(places))


def test_a_sum_that_stops_being_the_sum_is_a_warning(judged):
    edit = lambda text: "".join(  # noqa: E731
        line.replace("map.loss_iou", "map.gone") if "Epoch [3]" in line else line
        for line in text.splitlines(True)
    )
    finding = only(judged({"epochs": 4}, edit=edit), "sum-identity")
    assert (finding.severity, finding.where) == ("warning", "epoch 3, iter 10")


def test_a_trainer_whose_total_never_was_the_sum_is_left_alone(judged):
    none_of(judged(total((10, 100.0), (400, 50.0))), "sum-identity")


def test_a_resume_that_happened_is_accepted_and_what_was_redone_is_told(judged):
    starts = ({"epochs": 3, "stop": (2, 40)}, {"epochs": 3, "resumed": 1})
    analysis = judged(*starts, expectation=Expectation(epochs=3, resumed=(POINT,), ended=("killed", "done")))
    none_of(analysis, "resume")
    assert only(analysis, "redone").evidence["redone_iterations"] == 40
    assert only(analysis, "attempts").message == "2 attempts: 1 killed, 1 done."


def test_a_resume_that_started_from_zero_blocks(judged):
    starts = ({"epochs": 3, "stop": (2, 40)}, {"epochs": 3, "warmup_iters": 40})
    analysis = judged(*starts, expectation=Expectation(epochs=3, resumed=(POINT,), ended=("killed", "done")))
    finding = only(analysis, "resume")
    assert (finding.severity, finding.blocking) == ("critical", True)
    assert "no line `resumed epoch 1`" in finding.message


def test_a_start_from_zero_that_a_later_resume_left_behind_does_not_block(judged):
    starts = (
        {"epochs": 3, "stop": (2, 40)},
        {"epochs": 3, "warmup_iters": 40, "stop": (1, 20)},
        {"epochs": 3, "resumed": 1},
    )
    expectation = Expectation(epochs=3, resumed=(POINT, POINT), ended=("killed", "not-resumed", "done"))
    none_of(judged(*starts, expectation=expectation), "resume")


def test_only_the_resumed_attempts_log_from_zero_blocks(judged):
    expectation = Expectation(epochs=2, resumed=(POINT,), ended=("done",))
    assert only(judged({}, expectation=expectation), "resume").blocking


def test_a_second_start_from_zero_that_nobody_explained_is_a_warning(judged):
    analysis = judged({"epochs": 2, "stop": (2, 40)}, {"epochs": 2, "warmup_iters": 40})
    assert only(analysis, "resume").severity == "warning"


@pytest.mark.parametrize(
    "loaded", ["/data/uniad/ckpts/stage1.pth", "ckpts/stage1.pth", "./ckpts/../ckpts/stage1.pth"]
)
def test_the_expected_initial_checkpoint_is_recognised_however_its_path_is_written(judged, loaded):
    expectation = Expectation(initial_checkpoint="/data/uniad/ckpts/stage1.pth")
    none_of(judged({"load_from": loaded}, expectation=expectation), "initial-checkpoint")


@pytest.mark.parametrize("loaded", [None, "ckpts/other.pth", "old/stage1.pth"])
def test_another_initial_checkpoint_or_none_blocks(judged, loaded):
    expectation = Expectation(initial_checkpoint="/data/uniad/ckpts/stage1.pth")
    finding = only(judged({"load_from": loaded}, expectation=expectation), "initial-checkpoint")
    assert (finding.severity, finding.blocking) == ("critical", True)


def test_a_resume_is_not_asked_for_its_initial_checkpoint(judged):
    starts = ({"epochs": 3, "stop": (1, 100), "load_from": "a.pth"}, {"epochs": 3, "resumed": 1})
    none_of(judged(*starts, expectation=Expectation(initial_checkpoint="a.pth")), "initial-checkpoint")


@pytest.mark.parametrize(
    ("lines", "severity"),
    [
        ("missing keys in source state_dict: a, b\n", "info"),
        ("unexpected key in source state_dict: fc.weight, fc.bias\n", "info"),  # an ImageNet head
        ("size mismatch for decode_head.conv_seg.weight: copying a param\n", "info"),  # other classes
        ("size mismatch for a: copying a param\n", "warning"),
        ("unexpected key in source state_dict: a\n\nmissing keys in source state_dict: b\n", "warning"),
    ],
)
def test_new_and_left_over_heads_are_expected_other_mismatches_are_a_warning(judged, lines, severity):
    words = "- mmdet - WARNING - The model and loaded state dict do not match exactly\n"
    edit = lambda text: text.replace("loaded.pth\n", f"loaded.pth\n2024-05-01 12:00:00,000 {words}{lines}", 1)  # noqa: E731

    def after_load(text):
        head, load, tail = text.partition("load checkpoint from local path: loaded.pth\n")
        return head + edit(load) + tail

    analysis = judged({"load_from": "loaded.pth"}, edit=after_load)
    assert only(analysis, "partial-load").severity == severity


def test_another_backend_than_the_workflow_set_is_a_warning(judged):
    findings = judged({"backend": "nccl"}, expectation=Expectation(backend="gloo")).findings
    assert "warning" in {finding.severity for finding in findings if finding.check == "backend"}


def test_gloo_without_gpus_is_not_worth_a_word(judged):
    none_of(judged({"backend": "gloo", "gpus": 0}), "backend")


def test_a_json_log_is_judged_by_the_same_checks(tmp_path):
    log = read([write_mmcv_json_log(tmp_path / "x.log.json", epochs=4)])
    analysis = analyze(log, Expectation(epochs=4))
    assert analysis.verdict.kind == "healthy"
    assert only(analysis, "learning-rate").message.endswith("warm-up over 50 iterations).")


def test_learning_rates_that_json_rounded_away_are_not_judged(tmp_path):
    log = read([write_mmcv_json_log(tmp_path / "x.log.json", epochs=4, metrics={"lr": lambda step: 1e-7})])
    assert "round" in only(analyze(log), "learning-rate").message


def test_a_log_that_names_no_number_of_epochs_is_not_called_unfinished(tmp_path):
    log = replace(read([write_mmcv_log(tmp_path / "x.log")]), max_epochs=None)
    assert "not known" in only(analyze(log), "progress").message


def test_raised_epochs_are_judged_by_their_own_schedule(tmp_path):
    """What was trained before followed another one, which the last start's config no longer tells."""
    first = write_mmcv_log(tmp_path / "1.log", epochs=4)
    wrong = {"lr": lambda step: 1e-4}
    for name, metrics, severity in (("2.log", {}, "info"), ("3.log", wrong, "warning")):
        second = write_mmcv_log(tmp_path / name, epochs=6, resumed=4, metrics=metrics)
        assert only(analyze(read([first, second])), "learning-rate").severity == severity


@pytest.mark.parametrize("stop", [(2, 40), (1, 60)])
def test_a_log_that_stops_early_does_not_block_what_the_workflow_knows_to_be_finished(judged, stop):
    """A trainer that prints every Nth iteration only, or counts iterations alone, shows no last line."""
    expectation = Expectation(epochs=3, ended=("done",), finished=True)
    analysis = judged({"epochs": 3, "stop": stop}, expectation=expectation)
    finding = only(analysis, "progress")
    assert (finding.severity, finding.blocking) == ("info", False)
    assert analysis.progress.finished
    assert analysis.progress.fraction == 1.0


def test_a_start_that_never_trained_is_no_restart(tmp_path):
    failed, trained = tmp_path / "1.log", write_mmcv_log(tmp_path / "2.log", epochs=2, stop=(2, 40))
    head = trained.read_text().split("Epoch [1]")[0].rpartition("\n")[0]
    failed.write_text(
        f"{head}\nTraceback (most recent call last):\nTypeError: got an unexpected keyword 'x'\n"
    )
    resumed = write_mmcv_log(tmp_path / "3.log", epochs=2, resumed=1)
    told = "The log shows {}."
    for paths, restarts in (([failed, trained], 0), ([failed, trained, failed, resumed, failed], 1)):
        analysis = analyze(read(paths))
        text = analysis_markdown("r/s", analysis)
        assert analysis.restarts == restarts
        assert ("The log shows" in text) == bool(restarts)
        assert not restarts or told.format("1 restart") in text


def rises(rates):
    """As many logged lines to each rate."""
    return {"lr": lambda step: rates[min(len(rates) - 1, (step - 1) * len(rates) // 200)]}


@pytest.mark.parametrize(
    ("rates", "label"),
    [
        ([1e-4, 2e-4, 3e-4, 4e-4, 4e-4, 3e-4, 2e-4, 1e-4], "Epoch 1, iter 80 (lr warmup done)"),
        ([1e-4, 2e-4, 4e-4, 4e-4, 4e-4, 4e-4, 4e-4, 4e-4], "Epoch 1, iter 60 (lr warmup done)"),
        ([4e-4, 3e-4, 2e-4, 1e-4], None),  # begins at its peak
        ([2e-4, 2e-4, 4e-4, 4e-4], None),  # another rate from there on
        ([1e-4, 2e-4, 4e-4, 2e-4, 1e-4, 2e-4, 3e-4, 1e-4], None),  # up and down, again and again
        ([at * 1e-4 for at in range(1, 11)], None),  # still rising
        ([at * 1e-4 for at in range(1, 6)], None),  # the same, by epochs
        ([1e-4, 2e-4, 4e-4, 2e-4, 1e-4, 3e-4, 3e-4, 3e-4], None),  # the epochs were raised meanwhile
    ],
)
def test_the_end_of_a_warmup_is_named_only_where_it_is(judged, rates, label):
    analysis = judged({"interval": 20, "metrics": rises(rates)})
    found = [one.label for one in analysis.progression if "warmup" in one.label]
    assert found == ([label] if label else [])


def came(share, modules, shapes=(), left_over=()):
    return InitialWeights(format=1, share=share, modules=modules, shapes=shapes, left_over=left_over)


@pytest.mark.parametrize(
    ("seen", "severity"),
    [
        (came(1.0, (("backbone", 5, 5),)), None),
        (came(0.7, (("backbone", 5, 5), ("occ_head", 0, 3))), "info"),
        (came(1.0, (("backbone", 5, 5),), left_over=(("old_head", 2),)), "info"),
        (
            came(0.7, (("seg_head", 0, 2),), shapes=("seg_head.weight (3, 4)",)),
            "info",
        ),
        (came(0.7, (("neck", 0, 2),), shapes=("neck.weight (3, 4)",)), "warning"),
        (came(0.7, (("neck", 1, 2),), left_over=(("neck", 1),)), "warning"),
        (came(0.0, (("backbone", 0, 5),), left_over=(("module.backbone", 5),)), "warning"),
    ],
)
def test_what_the_hook_saw_of_the_initial_checkpoint_replaces_the_lines_of_the_log(judged, seen, severity):
    """A head that is new or left over is expected; where nothing was seen, the lines count."""
    words = (
        "2024-05-01 12:00:00,000 - mmdet - WARNING - The model and loaded state dict do not match exactly\n"
    )
    lines = f"loaded.pth\n{words}size mismatch for a: copying a param\n"
    edit = lambda text: text.replace("local path: loaded.pth\n", f"local path: {lines}", 1)  # noqa: E731
    analysis = judged({"load_from": "loaded.pth"}, edit=edit, expectation=Expectation(initial=seen))
    found = [
        (one.severity, str(seen) in one.message) for one in analysis.findings if one.check == "partial-load"
    ]
    assert found == ([(severity, True)] if severity else [])
    unknown = judged({"load_from": "loaded.pth"}, edit=edit, expectation=Expectation(initial=came(None, ())))
    assert only(unknown, "partial-load").severity == "warning"


@pytest.mark.parametrize("seen", [None, InitialWeights(format=1, share=None)])
def test_a_least_share_that_was_not_compared_is_a_warning(judged, seen):
    """The hook ends a training that got too little only if it sees the load."""
    found = only(judged({}, expectation=Expectation(initial=seen, match_min=0.9)), "partial-load")
    assert (found.severity, found.blocking) == ("warning", False)
    assert found.message.startswith("init_match_min is 0.9 and was not compared:")
    whole = came(1.0, (("backbone", 5, 5),))
    assert not [
        one
        for one in judged({}, expectation=Expectation(initial=whole, match_min=0.9)).findings
        if one.check == "partial-load"
    ]
