"""A stage at one glance: its state and its verdict; and the headline of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from trainrelay.ends import STOPPED
from trainrelay.records import Finding, RunReport, StageReport
from trainrelay.report.wording import count, sentence

Tone = Literal["ok", "warn", "bad", "live", "idle"]
STATE_TONES: dict[str, Tone] = {
    "complete": "ok",
    "running": "live",
    "stopped": "bad",
    "foreign": "bad",
    "refused": "bad",
    "changed": "warn",
}
VERDICT_TONES: dict[str, Tone] = {"healthy": "ok", "warning": "warn", "failed": "bad", "not judged": "warn"}
VERDICT_WORDS = {"warning": "Needs a look", "failed": "Failed its checks"}  # the others say it themselves
WORST_FIRST: tuple[Tone, ...] = ("bad", "warn", "live", "ok", "idle")
HEADLINES: dict[Tone, str] = {
    "bad": "Something failed",
    "warn": "Needs a look",
    "live": "Under way",
    "ok": "Healthy",
    "idle": "Not started",
}


def headline(report: RunReport) -> tuple[Tone, str, str]:
    """The tone of the whole run, one word for it and how many stages are complete."""
    tone = worst(tone for stage in report.stages for tone in (state_tone(stage), verdict_tone(stage)))
    complete = sum(stage.state == "complete" for stage in report.stages)
    said = f"{complete} of {count(len(report.stages), 'stage')} complete"
    return tone, word(tone, whole=complete == len(report.stages)), said


def worst(tones: Iterable[Tone]) -> Tone:
    """The gravest of some tones."""
    return min(tones, key=WORST_FIRST.index, default="idle")


def word(tone: Tone, *, whole: bool) -> str:
    """A tone in words; what is healthy so far and not whole is under way."""
    return HEADLINES["live" if tone == "ok" and not whole else tone]


def state_tone(stage: StageReport) -> Tone:
    """The colour of the state; a training that ended early is not one that never began."""
    if stage.state == "resumable" and stage.attempts:
        return "warn" if stage.attempts[-1].end in {"done", *STOPPED} else "bad"
    return STATE_TONES.get(stage.state, "idle")


def verdict_tone(stage: StageReport) -> Tone:
    """The colour of the verdict; a failure that a person accepted is a warning."""
    if stage.analysis is None:
        return "idle"
    if _is_only_under_way(stage):
        return "live"
    tone = VERDICT_TONES[stage.analysis.verdict.kind]
    return "warn" if tone == "bad" and accepted_reason(stage) else tone


def verdict_words(stage: StageReport) -> tuple[str, str]:
    """The verdict and the sentence that says why."""
    if stage.analysis is None:
        return _without_analysis(stage)
    verdict = stage.analysis.verdict
    if _is_only_under_way(stage):
        return "Still training", "Nothing speaks against it so far."
    word = VERDICT_WORDS.get(verdict.kind, verdict.kind.capitalize())
    if verdict.kind == "failed" and accepted_reason(stage):
        word += ", accepted by a person"
    return word, sentence(verdict.reason)


def _without_analysis(stage: StageReport) -> tuple[str, str]:
    if not stage.attempts or stage.attempts[-1].end is None:
        return "No verdict yet", "No log of this stage has been analysed."
    last = stage.attempts[-1]
    return "Ended before its first step", f"Attempt {last.number} ended: {last.end} ({last.reason})."


def _is_only_under_way(stage: StageReport) -> bool:
    """Whether all that the checks hold against a running stage is that it has not ended."""
    loud = [each for each in findings_of(stage) if each.severity != "info"]
    return stage.state == "running" and bool(loud) and all(each.check == "progress" for each in loud)


def findings_of(stage: StageReport) -> tuple[Finding, ...]:
    """What the checks said, as far as there is an analysis."""
    return stage.analysis.findings if stage.analysis else ()


def accepted_reason(stage: StageReport) -> str | None:
    """Why a person let the workflow go on past a blocking finding, if one did."""
    if stage.checkpoint and stage.checkpoint.accepted:
        return stage.checkpoint.accepted
    return stage.acceptance.reason if stage.acceptance and stage.acceptance.kind == "gate" else None
