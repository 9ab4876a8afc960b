"""What a reader of the report must not overlook, and what the checks found in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from trainrelay.records import STOPPED, AttemptRecord, Finding, RunReport, StageReport
from trainrelay.report.card import STATE_TONES, Tone, accepted_reason, alarms
from trainrelay.report.details import last_seen
from trainrelay.report.facts import backends
from trainrelay.report.formatting import check_title, sentence, shown_evidence, utc

SEVERITY_TONES: dict[str, Tone] = {"info": "idle", "warning": "warn", "critical": "bad"}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a reader must not overlook."""

    tone: Tone
    title: str
    text: str
    place: str = ""
    evidence: Mapping[str, object] | None = None
    advice: str = ""
    metric: str = ""
    consequence: str = ""


def notices(stage: StageReport) -> tuple[Notice, ...]:
    """Acceptance, fallbacks, bad nodes, the last failure and findings above info, the gravest kind first."""
    nodes = (Notice("warn", "A node is avoided", sentence(said)) for said in stage.bad_nodes)
    failed = [Notice("bad", "The last start failed", why) for why in [stage.failed_start] if why]
    ended = tuple(_ended_badly("warn", stage.attempts[-1:]))
    if why := stage.not_promoted:
        failed.append(Notice("bad", "Its checkpoint is not promoted", sentence(why)))
    elif STATE_TONES.get(stage.state) in ("bad", "warn") and not failed:
        why = stage.state_reason.removeprefix("needs your decision: ") or stage.state
        failed = [Notice("bad", "It needs your decision", sentence(why))]
        ended = () if stage.state == "stopped" else ended  # `why` tells it
    others = (
        *acceptances(stage),
        *_fallback(stage),
        *nodes,
        *_unhooked(stage),
        *ended,
        *_alarms(stage),
    )
    return (*failed, *others)


def needing_attention(report: RunReport) -> int:
    """How many things of a run need attention."""
    return sum(len(notices(stage)) for stage in report.stages)


def followed(stage: StageReport) -> tuple[Notice, ...]:
    """Attempts that ended badly and were followed by another one."""
    return tuple(_ended_badly("idle", stage.attempts[:-1]))


def acceptances(stage: StageReport) -> Iterator[Notice]:
    """What was accepted despite a finding, and the reason that was given."""
    reason = accepted_reason(stage)
    if reason:
        when = f" on {utc(stage.acceptance.at_s)}" if stage.acceptance else ""
        title = f"A blocking finding was accepted{when}"
        yield Notice("bad", title, f"The reason given: “{reason}”")
    elif stage.acceptance:
        title = "Retraining this stage was accepted"
        yield Notice("warn", title, f"The reason given: “{stage.acceptance.reason}”")


def _fallback(stage: StageReport) -> Iterator[Notice]:
    used = backends(stage)
    if len(used) > 1:
        text = f"{' → '.join(used)}{_why(stage)}. A slower backend makes every step longer."
        yield Notice("warn", "The communication backend fell back", text)


def _why(stage: StageReport) -> str:
    """The probes' errors on the rungs that were left."""
    probes = [probe for attempt in stage.attempts for probe in attempt.probes]
    said = [f"{probe.rung} {probe.outcome}: {probe.error}" for probe in probes if probe.error]
    return f" ({'; '.join(dict.fromkeys(said))})" if said else ""


def _unhooked(stage: StageReport) -> Iterator[Notice]:
    said = {attempt.hook: attempt.number for attempt in stage.attempts if attempt.hook}
    for why, number in said.items():
        yield Notice("warn", f"Attempt {number} trained without the hook", sentence(why))
    for attempt in stage.attempts:
        for why in attempt.hook_problems[bool(attempt.hook) :]:
            yield Notice("warn", f"Attempt {attempt.number} can lose more than its last steps", sentence(why))


def _ended_badly(tone: Tone, attempts: Iterable[AttemptRecord]) -> Iterator[Notice]:
    for attempt in attempts:
        if attempt.end not in {None, "done", *STOPPED}:
            place = last_seen(attempt)
            reason = sentence(attempt.reason or "No reason was recorded.")
            yield Notice(tone, f"Attempt {attempt.number} ended: {attempt.end}", reason, place)


def _consequence(finding: Finding, stage: StageReport) -> str:
    if not finding.blocking:
        return ""
    if accepted_reason(stage):
        return "This blocked the promotion of the checkpoint until it was accepted."
    return "This blocks the promotion of the checkpoint."


def _alarms(stage: StageReport) -> list[Notice]:
    return [
        Notice(
            SEVERITY_TONES[each.severity],
            check_title(each.check),
            sentence(each.message),
            each.where or "",
            shown_evidence(each),
            f"{sentence(each.advice)} Not so if {each.unless}." if each.unless else sentence(each.advice),
            "" if (metric := each.metric or "") in each.message else metric,
            _consequence(each, stage),
        )
        for each in sorted(alarms(stage), key=lambda finding: finding.severity != "critical")
    ]
