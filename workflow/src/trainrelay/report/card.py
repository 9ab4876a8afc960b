"""A stage at a glance: its state and its verdict; and the headlines of a run and of all runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from trainrelay.records import STOPPED, Finding, Overview, RunReport, StageReport
from trainrelay.report.formatting import sentence
from trainrelay.text import count

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
VERDICT_WORDS = {"warning": "Needs a look", "failed": "Failed its checks"}  # the others are their own words
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
    tone = _worst(tone for stage in report.stages for tone in (state_tone(stage), verdict_tone(stage)))
    noun = "log" if any(stage.log_alone for stage in report.stages) else "stage"
    return tone, *_complete(tone, [_is_complete(stage) for stage in report.stages], noun)


def overview_headline(overview: Overview) -> tuple[Tone, str, str]:
    """The same of all runs together."""
    tone = _worst(headline(report)[0] for report in overview.runs)
    return tone, *_complete(tone, [all(map(_is_complete, report.stages)) for report in overview.runs], "run")


def _is_complete(stage: StageReport) -> bool:
    return stage.state == "complete"


def _worst(tones: Iterable[Tone]) -> Tone:
    return min(tones, key=WORST_FIRST.index, default="idle")


def _complete(tone: Tone, complete: Sequence[bool], noun: str) -> tuple[str, str]:
    """The tone in words, and how many are complete; what is healthy so far and not whole is under way."""
    lives = tone == "ok" and not all(complete) and noun != "log"  # which does not tell it
    return HEADLINES["live" if lives else tone], f"{sum(complete)} of {count(len(complete), noun)} complete"


def state_tone(stage: StageReport) -> Tone:
    """The colour of the state; a training that ended early is not one that never began."""
    if stage.state == "resumable" and stage.attempts:
        return "warn" if stage.attempts[-1].end in {"done", *STOPPED} else "bad"
    return "bad" if stage.not_promoted else STATE_TONES.get(stage.state, "idle")


def verdict_tone(stage: StageReport) -> Tone:
    """The colour of the verdict; an accepted failure is a warning."""
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
        return "Still training", "No problem found so far."
    word = VERDICT_WORDS.get(verdict.kind, verdict.kind.capitalize())
    if verdict.kind == "failed" and accepted_reason(stage):
        word += ", accepted by an override"
    return word, sentence(verdict.reason)


def _without_analysis(stage: StageReport) -> tuple[str, str]:
    if not stage.attempts or stage.attempts[-1].end is None:
        return "No verdict yet", "No log of this stage has been analysed."
    last = stage.attempts[-1]
    return "No line of its log is understood", f"Attempt {last.number} ended: {last.end} ({last.reason})."


def alarms(stage: StageReport) -> list[Finding]:
    """The findings above info; that a running stage is not finished is none."""
    running = stage.state == "running"
    return [f for f in findings_of(stage) if f.severity != "info" and not (running and f.check == "progress")]


def _is_only_under_way(stage: StageReport) -> bool:
    return any(each.severity != "info" for each in findings_of(stage)) and not alarms(stage)


def findings_of(stage: StageReport) -> tuple[Finding, ...]:
    """What the checks found, if there is an analysis."""
    return stage.analysis.findings if stage.analysis else ()


def accepted_reason(stage: StageReport) -> str | None:
    """The reason given for accepting a blocking finding, if one was."""
    if stage.checkpoint and stage.checkpoint.accepted:
        return stage.checkpoint.accepted
    return stage.acceptance.reason if stage.acceptance and stage.acceptance.kind == "gate" else None
