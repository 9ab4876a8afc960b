"""The page of a run, read by a parser as a browser would read it."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable

import pytest

from support import sample_report
from support.page import HOSTILE, Page
from support.sample_report import RunReport, StageReport
from trainrelay.records import ProbeResult
from trainrelay.report import marks, run_html


def plain(*stages: StageReport) -> str:
    """A page without curves, which take most of its time: those are drawn once, by `drawn`."""
    return run_html(RunReport("uniad", tuple(map(without_curves, stages)), {"trainrelay": "0.1.0"}))


def without_curves(stage: StageReport) -> StageReport:
    if stage.analysis is None:
        return stage
    return dataclasses.replace(stage, analysis=dataclasses.replace(stage.analysis, curves={}))


def page(*stages: StageReport) -> Page:
    return Page(plain(*stages))


def two_stages() -> RunReport:
    bad = sample_report.accepted(sample_report.stage1(), "checked by hand")
    return RunReport("uniad", (bad, sample_report.failed_stage()), {})


RUNS: dict[str, Callable[[], RunReport]] = {
    "uniad": sample_report.sample_run,
    "keypoints": sample_report.keypoint_run,
    "accepted and failed": two_stages,
    "bare": lambda: RunReport("uniad", (sample_report.bare_stage(),), {}),
    "empty": lambda: RunReport("none", (), {}),
    "hostile": lambda: sample_report.with_hostile_names(HOSTILE),
}


@functools.cache
def drawn(name: str) -> str:
    """The page of a run with its curves, drawn once for all tests."""
    return run_html(RUNS[name]())


@pytest.mark.parametrize("name", RUNS)
def test_the_page_asks_for_nothing_and_runs_nothing_but_its_script(name: str) -> None:
    report, read = RUNS[name](), Page(drawn(name))
    tags = {tag for tag, _ in read.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "form", "foreignobject"}
    for _, attrs in read.elements:
        assert not [key for key in attrs if key.startswith("on") or key in {"src", "style", "xlink:href"}]
        assert str(attrs.get("href", "#")).startswith("#") or attrs["href"] == report.overview
    assert [tag for tag, _ in read.elements].count("script") == 1


@pytest.mark.parametrize("name", RUNS)
def test_the_page_is_well_formed_and_its_ids_are_unique(name: str) -> None:
    read = Page(drawn(name))
    assert read.unbalanced == []
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))


@pytest.mark.parametrize("name", RUNS)
def test_the_same_run_gives_the_same_bytes_and_they_are_utf_8(name: str) -> None:
    assert run_html(RUNS[name]()).encode("utf-8") == drawn(name).encode("utf-8")


def test_the_policy_allows_the_pages_own_style_and_nothing_else() -> None:
    source = drawn("uniad")
    policy = next(
        str(attrs["content"])
        for _, attrs in Page(source).elements
        if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    style = re.search(r"<style>(.*?)</style>", source, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_hostile_names_are_text_wherever_they_are() -> None:
    source = drawn("hostile")
    assert "<img" not in source
    assert source.count("<script") == 1
    assert "\x1b" not in source
    assert "\u202e" not in source
    assert Page(source).text.count("<script>alert(1)</script>") > 20
    assert "{{7*7}}" in source


def test_the_verdict_comes_before_the_curves() -> None:
    source = drawn("uniad")
    sections = ["verdict", "attention", "curves", "compare", "metrics", "meaning", "attempts", "provenance"]
    assert Page(source).ids == sections
    assert source.index('id="attention"') < source.index('class="chart"')


def test_one_glance_at_a_finished_stage_tells_all() -> None:
    top = page(sample_report.stage1()).words.split("What needs attention")[0]
    for words in (
        "complete",
        "Healthy",
        "Healthy convergence: the total loss dropped from ~104 to ~46.6, a ~55% reduction.",
        "Epochs done 6 of 6",
        "Total loss 103.89 → 46.58 −55%",
        "Time 2 d 1 h",
        "GPU-hours 394",
        "Backend gloo",
        "Promoted checkpoint full_track_map.pth sha256 3f9a1c073f9a",
    ):
        assert words in top


def test_a_running_stage_shows_its_fallback_and_its_failed_attempt() -> None:
    words = page(sample_report.stage2()).words
    assert "Epochs done 8 of 20 in epoch 9, iter 2310/3517" in words
    assert "Backend gloo fell back: nccl → gloo" in words
    assert "The communication backend fell back" in words
    over = "stage2: 1 attempt ended early and was followed by another ·over"
    assert f"{over} Attempt 1 ended: comm stage2 · epoch 5, iter 1240 Rank 3 reported first" in words
    assert "21 h 42 min and attempt 2, since 2026-01-08 07:12 UTC" in words


def test_an_attempt_without_the_hook_is_told_once_per_reason() -> None:
    """Beside the fallbacks, as what a reader must not overlook."""
    stage = sample_report.stage2()
    why = "the hook did not attach: no rank loaded it; the training runs without it"
    attempts = tuple(one.model_copy(update={"hook": why}) for one in stage.attempts)
    text = plain(dataclasses.replace(stage, attempts=attempts))
    assert text.count("he hook did not attach") == 1
    assert "trained without the hook" not in plain(stage)


def test_a_finding_comes_with_its_severity_place_evidence_and_advice() -> None:
    words = page(sample_report.stage2()).words
    finding = words[words.index("warning Learning rate") :]
    assert finding.startswith(
        "warning Learning rate stage2 · epoch 5, iter 110 lr The learning rate is 1.000e-04"
    )
    assert "seen 0.0001 differing 145 points 145 What to do: Compare lr_config, optimizer.lr" in finding


def test_a_metric_that_a_message_names_is_not_named_twice() -> None:
    words = page(sample_report.failed_stage()).words
    assert "iter 110 loss is NaN" in words
    assert "loss loss" not in words


def test_an_accepted_finding_is_said_beside_the_verdict() -> None:
    read = page(sample_report.accepted(sample_report.stage1(), "Unused head, checked by hand."))
    top = read.words.split("What needs attention")[0]
    assert "Failed its checks, accepted by an override" in top
    assert "A blocking finding was accepted on 2026-01-07 10:00 UTC" in top
    assert "“Unused head, checked by hand.”" in top
    assert "until it was accepted" in read.words


def test_the_acceptance_in_a_checkpoint_record_is_enough_to_say_so() -> None:
    stage = sample_report.stage1()
    assert stage.checkpoint is not None
    record = stage.checkpoint.model_copy(update={"accepted": "I know this head."})
    top = page(dataclasses.replace(stage, checkpoint=record)).words.split("What needs attention")[0]
    assert "A blocking finding was accepted. The reason given: “I know this head.”" in top


def test_an_acceptance_of_something_else_does_not_turn_the_verdict() -> None:
    stage = sample_report.accepted(sample_report.failed_stage(), "set aside")
    assert stage.acceptance is not None
    acceptance = stage.acceptance.model_copy(update={"kind": "retrain"})
    words = page(dataclasses.replace(stage, acceptance=acceptance)).words
    assert "accepted by an override" not in words
    assert "Retraining this stage was accepted" in words


def test_a_running_stage_is_not_blamed_for_not_being_finished() -> None:
    unfinished = sample_report.Finding("progress", "critical", "Not finished: epoch 9.", blocking=True)
    stage = sample_report.stage2()
    assert stage.analysis is not None
    verdict = sample_report.Verdict("failed", "Not finished: epoch 9.")
    analysis = dataclasses.replace(stage.analysis, findings=(unfinished,), verdict=verdict)
    running = page(dataclasses.replace(stage, analysis=analysis)).words
    stopped = page(dataclasses.replace(stage, analysis=analysis, state="resumable")).words
    assert "Still training" in running
    assert "Not finished" not in running
    assert "Failed its checks Not finished: epoch 9." in stopped


def test_what_is_missing_is_said_in_plain_words() -> None:
    words = page(sample_report.bare_stage()).words
    for said in (
        "No verdict yet No log of this stage has been analysed.",
        "Total loss not logged yet",
        "Backend not chosen yet",
        "Promoted checkpoint none yet",
        "so there are no curves yet",
        "No metric has been read yet.",
        "The trainer has not been started yet.",
    ):
        assert said in words


@pytest.mark.parametrize("part", ["attempts", "train", "checkpoint", "analysis", "acceptance"])
def test_any_part_of_a_stage_may_be_missing(part: str) -> None:
    stage = sample_report.accepted(sample_report.stage1(), "why")
    whole = page(dataclasses.replace(stage, **{part: () if part == "attempts" else None}))
    assert "stage1" in whole.words


def test_a_finished_log_of_iterations_is_whole_though_its_last_ones_are_not_logged() -> None:
    analysis = sample_report.stage1_analysis()
    came = dataclasses.replace(analysis.progress, iteration=195, iters_per_epoch=200, finished=True)
    analysis = dataclasses.replace(analysis, by_iteration=True, progress=came)
    stage = StageReport("a.log", "complete", iters=200, analysis=analysis)
    assert "a.log has 200 of 200 iterations done" in page(stage).words


def test_a_stage_without_gpus_claims_no_gpu_hours() -> None:
    stage = dataclasses.replace(sample_report.stage1(), resources={"gpu": 0})
    assert "GPU-hours none trained on CPU" in page(stage).words


def test_the_attempts_tell_how_the_trainer_was_started_and_how_it_ended() -> None:
    words = page(sample_report.stage2()).words
    attempts = words[words.index("Attempts stage2") :]
    assert "Attempt 1 !comm 21 h 42 min on nccl" in attempts
    assert "resumed from /data/UniAD/projects/work_dirs/stage2/epoch_4.pth (epoch 4)" in attempts
    assert "python -u -m torch.distributed.launch --nproc_per_node=8" in attempts


def test_the_provenance_holds_signature_checkpoint_and_versions() -> None:
    words = page(sample_report.stage1()).words
    provenance = words[words.index("Provenance trainrelay") :]
    for said in ("trainrelay 0.1.0", "3f9a1c07" * 8, "b1946ac92492d234", "world size 8", "base_track_map.py"):
        assert said in provenance


def test_the_provenance_tells_what_came_from_the_initial_checkpoint() -> None:
    """Of the newest attempt that started from it."""
    said = "71.4 % of the model's parameters; occ_head: new, 271 keys; img_backbone: 318 of 318"
    assert f"from the initial checkpoint {said}" in page(sample_report.stage2()).words
    assert "from the initial checkpoint" not in page(sample_report.stage1()).words


def test_no_path_is_cut_short() -> None:
    stage = sample_report.stage1()
    assert stage.train is not None
    logs = [f"/data/{'deep/' * 80}{place}.log" for place in range(9)]
    words = page(dataclasses.replace(stage, train=stage.train.model_copy(update={"log_files": logs}))).words
    assert all(log in words for log in logs)


def test_every_metric_of_a_large_run_is_in_the_tables() -> None:
    stage = sample_report.stage2()
    assert stage.analysis is not None
    words = page(stage).words
    assert all(metric in words for metric in stage.analysis.metrics["train"])
    assert f"Training: {len(stage.analysis.metrics['train'])} metrics" in words
    assert "Validation: 2 metrics" in words


def test_a_validation_metric_is_among_the_facts_of_a_stage() -> None:
    top = page(sample_report.keypoint_stage()).words.split("What needs attention")[0]
    assert "pck@0.1 0.39 → 0.95 in 6 validations Time" in top


def test_a_single_validation_is_told_as_one_value() -> None:
    analysis = sample_report.epochs_only_analysis(done=1)
    top = page(sample_report.keypoint_stage("running", analysis)).words.split("What needs attention")[0]
    assert "pck@0.1 0.39 in 1 validation Time" in top


def test_a_log_of_whole_epochs_is_told_and_drawn_without_iterations() -> None:
    stage = sample_report.keypoint_stage("running", sample_report.epochs_only_analysis())
    read = Page(run_html(RunReport("uniad", (stage,), {})))
    assert "Epochs done 4 of 6 Total loss 19.90" in read.words
    assert not re.search(r"\biter(ation)?s?\b", read.words.split("Attempts pose")[0])
    bar = next(attrs["aria-label"] for tag, attrs in read.elements if attrs.get("class") == "bar")
    assert bar == "67 percent trained"
    charts = [attrs["aria-label"] for _, attrs in read.elements if attrs.get("class") == "chart"]
    assert charts == [
        "Total loss over epochs",
        "Validation metrics over epochs",
        "Learning rate over epochs",
        "Losses of the decoder layers over epochs",
    ]


def test_a_restart_in_a_log_of_whole_epochs_lies_at_its_epoch() -> None:
    stage = sample_report.keypoint_stage("running", sample_report.epochs_only_analysis())
    point = sample_report.ResumePoint(path="checkpoint.pth", epoch=2, iteration=240)
    resumed = stage.attempts[0].model_copy(update={"resumed_from": point})
    assert [mark.step for mark in marks.of(dataclasses.replace(stage, attempts=(resumed,)))] == [2]


def test_the_means_of_epochs_have_a_table_of_their_own_between_training_and_validation() -> None:
    words = page(sample_report.keypoint_stage()).words
    places = [words.index(f"{title}: ") for title in ("Training", "Means of training epochs", "Validation")]
    assert places == sorted(places)


def test_twins_without_a_coefficient_are_in_the_table_and_in_no_legend() -> None:
    words = Page(drawn("keypoints")).words
    curves, metrics = words[words.index("Curves pose") :].split("Metrics pose")
    assert "unscaled" not in curves
    assert "loss_ce_3_unscaled" in metrics


def test_the_signs_are_in_sight_and_the_explanations_are_closed() -> None:
    source = plain(sample_report.keypoint_stage())
    section = source[source.index('<section id="meaning">') : source.index('<section id="attempts">')]
    in_sight = Page(re.sub(r"<details.*?</details>", "", section, flags=re.DOTALL)).words
    assert "Good signs ✓seen Total loss decreasing over epochs. 66.23 -> 15.23." in in_sight
    assert "?unclear Learning rate too low." in in_sight
    assert "loss_coords" not in in_sight
    whole = Page(section).words
    assert "loss_coords L1 distance of coordinates. typical 0.2 to 1.5" in whole
    assert "<details open" not in section


def test_a_page_without_an_explanation_has_no_section_for_it() -> None:
    analysis = dataclasses.replace(sample_report.stage1_analysis(), explanation=None)
    silent = dataclasses.replace(sample_report.stage1(), analysis=analysis)
    for stage in (silent, sample_report.bare_stage()):
        assert "meaning" not in page(stage).ids
        assert "What the numbers mean" not in page(stage).words
    both = plain(sample_report.keypoint_stage(), sample_report.bare_stage())
    section = both[both.index('<section id="meaning">') : both.index('<section id="attempts">')]
    assert re.findall("<h3>(.*)</h3>", section) == ["pose"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("type `trainrelay accept <x>` now", "type <code>trainrelay accept &lt;x&gt;</code> now."),
        ("`a``b`", "<code>a</code><code>b</code>."),
        ("a ` stays", "a ` stays."),
        ("`a` and ` stays", "<code>a</code> and ` stays."),
    ],
)
def test_what_is_typed_is_shown_as_code_and_a_lone_backtick_as_itself(text: str, shown: str) -> None:
    source = plain(dataclasses.replace(sample_report.stage1(), state_reason=text))
    assert f'<p class="state">{shown}' in source


def test_a_report_leads_back_to_the_overview_only_where_there_is_one() -> None:
    links = [attrs for tag, attrs in Page(drawn("keypoints")).elements if tag == "a"]
    assert links[0] == {"href": "../index.html"}
    assert "All runs" not in page(sample_report.stage1()).words


def test_the_page_says_when_it_was_written_and_needs_not() -> None:
    assert "Training report, written at 2026-01-10 07:40:12 UTC" in Page(drawn("uniad")).words
    assert "written at" not in page(sample_report.stage1()).words


def crashed(end: str) -> StageReport:
    bare = sample_report.bare_stage("stage1", "resumable", "0 of 6 epochs trained")
    attempt = sample_report.attempt(
        1, "stage1", bare.config, 6, (0.0, 0.1), end=end, reason="ModuleNotFoundError: No module named 'x'"
    )
    return dataclasses.replace(bare, attempts=(attempt,))


@pytest.mark.parametrize(
    ("end", "word"), [("trainer-bug", "Something failed"), ("interrupted", "Needs a look")]
)
def test_a_training_that_ended_before_its_first_step_is_not_called_unstarted(end: str, word: str) -> None:
    page = Page(run_html(RunReport("uniad", (crashed(end),), {})))
    assert word in page.text
    assert "Not started" not in page.text
    assert f"Attempt 1 ended: {end} (ModuleNotFoundError" in page.text


def test_a_fallback_before_the_first_attempt_is_told_with_what_the_probe_said() -> None:
    """The first attempt already ran on gloo, so only its ladder and its probes tell."""
    said = ProbeResult(
        rung="nccl",
        outcome="fails",
        error="Duplicate <GPU> detected",
        gb_per_s={},
        seconds=2.0,
        log="probe/nccl.log",
    )
    works = said.model_copy(
        update={"rung": "gloo", "outcome": "works", "error": None, "gb_per_s": {256: 1.25}}
    )
    stage = sample_report.stage1()
    first = stage.attempts[0].model_copy(
        update={"backend": "gloo", "ladder": ("nccl", "gloo"), "probes": (said, works)}
    )
    words = page(dataclasses.replace(stage, attempts=(first,))).words
    assert "nccl → gloo (nccl fails: Duplicate <GPU> detected)" in words
    assert "probe of gloo works, all_reduce at 1.25 GB/s (256 MB)" in words
