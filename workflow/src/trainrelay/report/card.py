"""A stage at one glance: state, verdict, the facts that go with them, and the run's headline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainrelay.records import Finding, Progress, RunReport, StageReport
from trainrelay.report.wording import (
    count,
    duration,
    gpu_hours,
    number,
    percent,
    relative_change,
    sentence,
    utc,
)

Tone = Literal["ok", "warn", "bad", "live", "idle"]
STATE_TONES: dict[str, Tone] = {
    "complete": "ok",
    "running": "live",
    "failed": "bad",
    "foreign": "bad",
    "changed": "warn",
}
VERDICT_TONES: dict[str, Tone] = {"healthy": "ok", "warning": "warn", "failed": "bad"}
VERDICT_WORDS = {"healthy": "Healthy", "warning": "Needs a look", "failed": "Failed its checks"}
WORST_FIRST: tuple[Tone, ...] = ("bad", "warn", "live", "ok", "idle")
HEADLINES: dict[Tone, str] = {
    "bad": "Something failed",
    "warn": "Needs a look",
    "live": "Under way",
    "ok": "Healthy",
    "idle": "Not started",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A named value of a stage's card, and what qualifies it."""

    name: str
    value: str
    detail: str = ""


def headline(report: RunReport) -> tuple[Tone, str, str]:
    """The tone of the whole run, one word for it and how many stages are complete."""
    tones = [tone for stage in report.stages for tone in (state_tone(stage), verdict_tone(stage))]
    worst: Tone = next((tone for tone in WORST_FIRST if tone in tones), "idle")
    complete = sum(stage.state == "complete" for stage in report.stages)
    word = "Under way" if worst == "ok" and complete < len(report.stages) else HEADLINES[worst]
    return worst, word, f"{complete} of {count(len(report.stages), 'stage')} complete"


def state_tone(stage: StageReport) -> Tone:
    """The colour of the state; a training that ended early is not one that never began."""
    if stage.state == "resumable" and stage.attempts:
        return "warn" if stage.attempts[-1].end in ("interrupted", "done") else "bad"
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
    word = VERDICT_WORDS[verdict.kind]
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


def facts(stage: StageReport) -> tuple[Fact, ...]:
    """What one glance at a stage has to tell."""
    return (_epochs(stage), _loss(stage), _time(stage), _gpu_hours(stage), _backend(stage), _promoted(stage))


def fraction_done(stage: StageReport) -> float:
    """How much of the stage is trained, 0 to 1."""
    if stage.train:
        return 1.0
    if stage.analysis and stage.analysis.progress.fraction is not None:
        return min(max(stage.analysis.progress.fraction, 0.0), 1.0)
    return min(_epochs_done(stage) / stage.epochs, 1.0) if stage.epochs else 0.0


def _epochs(stage: StageReport) -> Fact:
    progress = stage.analysis.progress if stage.analysis else None
    under_way = progress is not None and progress.epoch > 0 and not progress.finished and not stage.train
    detail = _place(progress) if progress and under_way else ""
    return Fact("Epochs done", f"{_epochs_done(stage)} of {stage.epochs}", detail)


def _epochs_done(stage: StageReport) -> int:
    if stage.train:
        return stage.train.epochs
    if stage.analysis:
        progress = stage.analysis.progress
        return progress.epoch if progress.finished else max(progress.epoch - 1, 0)
    return max((max((each.last_epoch or 1) - 1, 0) for each in stage.attempts), default=0)


def _place(progress: Progress) -> str:
    of = f"/{progress.iters_per_epoch}" if progress.iters_per_epoch else ""
    return f"in epoch {progress.epoch}, iter {progress.iteration}{of}"


def _loss(stage: StageReport) -> Fact:
    summary = stage.analysis and stage.analysis.metrics.get("train", {}).get(stage.analysis.total or "loss")
    if not summary:
        return Fact("Total loss", "not logged yet")
    change = relative_change(summary.first, summary.last)
    return Fact(
        "Total loss",
        f"{number(summary.first)} → {number(summary.last)}",
        percent(change).replace("-", "−") if change is not None else "",
    )


def _time(stage: StageReport) -> Fact:
    ended = [each.ended_s - each.started_s for each in stage.attempts if each.ended_s is not None]
    live = [each for each in stage.attempts if each.ended_s is None]
    seconds = stage.train.train_s if stage.train else sum(ended)
    more = f"and attempt {live[-1].number}, since {utc(live[-1].started_s)}" if live else ""
    if not stage.train and not ended:
        return Fact("Time", "not started" if not live else "running", more.removeprefix("and "))
    return Fact("Time", duration(seconds), more or f"in {count(len(stage.attempts) or 1, 'attempt')}")


def _gpu_hours(stage: StageReport) -> Fact:
    if stage.resources.get("gpu") == 0:
        return Fact("GPU-hours", "none", "trained on CPU")
    if stage.train:
        return Fact("GPU-hours", gpu_hours(stage.train.gpu_h))
    if not stage.attempts:
        return Fact("GPU-hours", "none yet")
    ended = [(each.ended_s - each.started_s) * each.world_size for each in stage.attempts if each.ended_s]
    running = any(each.ended_s is None for each in stage.attempts)
    return Fact("GPU-hours", gpu_hours(sum(ended) / 3600), "in ended attempts" if running else "")


def _backend(stage: StageReport) -> Fact:
    used = backends(stage)
    logged = stage.analysis.setup.get("backend") if stage.analysis else None
    last = used[-1] if used else stage.train.backend if stage.train else logged
    detail = f"fell back: {' → '.join(used)}" if len(used) > 1 else ""
    return Fact("Backend", last or "not chosen yet", detail)


def backends(stage: StageReport) -> tuple[str, ...]:
    """The backends of the attempts in order, each change once."""
    used = [attempt.backend for attempt in stage.attempts]
    return tuple(name for place, name in enumerate(used) if place == 0 or name != used[place - 1])


def _promoted(stage: StageReport) -> Fact:
    if stage.checkpoint is None:
        return Fact("Promoted checkpoint", "none yet")
    target = stage.checkpoint.target
    digest = f"sha256 {stage.checkpoint.source.file.sha256[:12]}"
    return Fact("Promoted checkpoint", target or stage.checkpoint.source.file.path, digest)
