"""The page of a run, read by a parser as a browser would read it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import pytest

from support import sample_report
from support.sample_report import RunReport, StageReport
from trainrelay.report import run_html

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=http://e.example/x onerror=alert(1)>{{7*7}}\x1b[31m\u202e\udcff"
)


class Page(HTMLParser):
    """Elements in order, the ids, the visible text, and whether every element is closed."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)
        if tag in {"dt", "dd", "td", "th", "summary"}:
            self.text += " "

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    @property
    def ids(self) -> list[str]:
        return [str(attrs["id"]) for _, attrs in self.elements if "id" in attrs]


def page(*stages: StageReport) -> Page:
    return Page(run_html(RunReport("uniad", stages, {"trainrelay": "0.1.0"})))


def all_runs() -> list[RunReport]:
    bad = sample_report.accepted(sample_report.stage1(), "checked by hand")
    return [
        sample_report.sample_run(),
        RunReport("uniad", (bad, sample_report.failed_stage()), {}),
        RunReport("uniad", (sample_report.bare_stage(),), {}),
        RunReport("none", (), {}),
        sample_report.with_hostile_names(HOSTILE),
    ]


@pytest.mark.parametrize("report", all_runs())
def test_the_page_asks_for_nothing_and_runs_nothing(report: RunReport) -> None:
    read = Page(run_html(report))
    tags = {tag for tag, _ in read.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "foreignobject"}
    for _, attrs in read.elements:
        assert not [name for name in attrs if name.startswith("on") or name in {"src", "style", "xlink:href"}]
        assert str(attrs.get("href", "#")).startswith("#")


@pytest.mark.parametrize("report", all_runs())
def test_the_page_is_well_formed_and_its_ids_are_unique(report: RunReport) -> None:
    read = Page(run_html(report))
    assert read.unbalanced == []
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))


@pytest.mark.parametrize("report", all_runs())
def test_the_same_run_gives_the_same_bytes_and_they_are_utf_8(report: RunReport) -> None:
    assert run_html(report).encode("utf-8") == run_html(report).encode("utf-8")


def test_the_policy_allows_the_pages_own_style_and_nothing_else() -> None:
    source = run_html(sample_report.sample_run())
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


def test_hostile_names_are_text_wherever_they_stand() -> None:
    source = run_html(sample_report.with_hostile_names(HOSTILE))
    assert "<img" not in source
    assert "<script" not in source
    assert "\x1b" not in source
    assert "\u202e" not in source
    assert Page(source).text.count("<script>alert(1)</script>") > 20
    assert "{{7*7}}" in source


def test_the_verdict_comes_before_the_curves() -> None:
    ids = page(sample_report.stage1(), sample_report.stage2()).ids
    sections = [name for name in ids if not re.fullmatch(r"s\d+p\d+-.*", name)]
    assert sections == ["verdict", "attention", "curves", "metrics", "attempts", "provenance"]
    first_curve = next(place for place, name in enumerate(ids) if name.startswith("s1p1-"))
    assert ids.index("attention") < first_curve


def test_one_glance_at_a_finished_stage_tells_all() -> None:
    top = page(sample_report.stage1()).words.split("What needs attention")[0]
    for words in (
        "complete",
        "Healthy",
        "All 6 epochs are trained and the total loss fell by 56%.",
        "Epochs done 6 of 6",
        "Total loss 105.67 → 46.67 −56%",
        "Time 2 d 1 h",
        "GPU-hours 394",
        "Backend gloo",
        "Promoted checkpoint /data/UniAD/ckpts/full_track_map.pth sha256 3f9a1c073f9a",
    ):
        assert words in top


def test_a_running_stage_shows_its_fallback_and_its_failed_attempt() -> None:
    words = page(sample_report.stage2()).words
    assert "Epochs done 8 of 20 in epoch 9, iter 2310/3517" in words
    assert "Backend gloo fell back: nccl → gloo" in words
    assert "The communication backend fell back" in words
    assert "Attempt 1 ended: comm stage2 · epoch 5, iter 1240 Rank 3 reported first" in words
    assert "21 h 42 min and attempt 2, since 2026-01-08 07:12 UTC" in words


def test_a_finding_comes_with_its_severity_place_evidence_and_advice() -> None:
    words = page(sample_report.stage2()).words
    finding = words[words.index("warning Gradient norm") :]
    assert finding.startswith("warning Gradient norm stage2 · epoch 9, iter 2310 grad_norm Every one of")
    assert "clip 35 clipped_fraction 1 What to do: Usual for this model" in finding


def test_an_accepted_finding_is_said_beside_the_verdict() -> None:
    read = page(sample_report.accepted(sample_report.stage1(), "Unused head, checked by hand."))
    top = read.words.split("What needs attention")[0]
    assert "Failed its checks, accepted by a person" in top
    assert "A person accepted a blocking finding on 2026-01-07 10:00 UTC" in top
    assert "“Unused head, checked by hand.”" in top
    assert "until a person accepted it" in read.words


def test_the_acceptance_in_a_checkpoint_record_is_enough_to_say_so() -> None:
    stage = sample_report.stage1()
    assert stage.checkpoint is not None
    record = stage.checkpoint.model_copy(update={"accepted": "I know this head."})
    top = page(dataclasses.replace(stage, checkpoint=record)).words.split("What needs attention")[0]
    assert "A person accepted a blocking finding. The reason given: “I know this head.”" in top


def test_an_acceptance_of_something_else_does_not_turn_the_verdict() -> None:
    stage = sample_report.accepted(sample_report.failed_stage(), "set aside")
    assert stage.acceptance is not None
    acceptance = stage.acceptance.model_copy(update={"kind": "retrain"})
    words = page(dataclasses.replace(stage, acceptance=acceptance)).words
    assert "accepted by a person" not in words
    assert "A person accepted that this stage is trained again" in words


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
