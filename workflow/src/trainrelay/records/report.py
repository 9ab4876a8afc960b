"""What the analysis concludes and the report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trainrelay.records.files import (
    Acceptance,
    AttemptRecord,
    CheckpointRecord,
    EndClass,
    InitialWeights,
    ResumePoint,
    TrainRecord,
)
from trainrelay.records.log import Phase

Severity = Literal["info", "warning", "critical"]
VerdictKind = Literal["healthy", "warning", "failed", "not judged"]


# ---------------------------------------------------------------------- analysis


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the workflow knows of a stage that its log need not say. None: not known."""

    epochs: int | None = None
    backend: str | None = None
    initial_checkpoint: str | None = None
    initial: InitialWeights | None = None  # what came from it, as the newest start from it saw
    match_min: float | None = None  # the share of the model that was to come from it
    resumed: tuple[ResumePoint, ...] = ()  # one per attempt that was asked to resume
    ended: tuple[EndClass, ...] = ()  # of each attempt, in order
    failed: tuple[str, ...] = ()  # how the trainer failed, of each attempt that saved a checkpoint before
    saves_steps: bool = False  # trainrelay saves checkpoints within epochs, which the log does not show
    finished: bool = False  # its last checkpoint says so, whatever the log shows


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `blocking` closes the gate of promote until you accept it; `unless` says when it
    would be wrong."""

    check: str  # its name
    severity: Severity  # critical: something is wrong
    message: str  # one sentence with the numbers
    metric: str | None = None  # that it is about
    where: str | None = None  # e.g. "epoch 2, iter 40"
    evidence: Mapping[str, Any] = field(default_factory=dict)  # the numbers by name
    advice: str = ""  # what to do
    unless: str = ""
    blocking: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the findings amount to, and the sentence that says why."""

    kind: VerdictKind  # by the worst finding
    reason: str  # one sentence


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """First, last and extreme value of one metric in one phase."""

    first: float
    last: float
    min: float
    max: float
    count: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training came. `fraction` of all epochs, 0 to 1; None where the end is not known."""

    epoch: int
    iteration: int
    iters_per_epoch: int | None
    epochs: int | None
    fraction: float | None
    finished: bool


@dataclass(frozen=True, slots=True)
class Milestone:
    """A row of the progression table: a named point of the training and its total loss."""

    label: str  # "Epoch 1, iter 610 (lr warmup done)"
    epoch: int  # counted from 1
    iteration: int  # of that epoch
    step: int  # of the whole training
    value: float  # of the total loss


@dataclass(frozen=True, slots=True)
class Explained:
    """One thing that a log prints: what it is, and what is known of it."""

    name: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()  # ("sign", "never negative"), ("here", "1.21 -> 0.48")


@dataclass(frozen=True, slots=True)
class Sign:
    """A good or a warning sign, judged by the numbers of this log. `seen` None: the log does not tell."""

    kind: Literal["good", "warning"]
    text: str
    seen: bool | None
    evidence: str  # a sentence with this log's numbers, or why it does not tell
    check: str  # the check that judges it


@dataclass(frozen=True, slots=True)
class Section:
    """A part of an explanation, with a heading."""

    title: str
    text: str = ""
    items: tuple[Explained, ...] = ()
    signs: tuple[Sign, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the numbers of a log mean, for a first reader of such a log."""

    model: str  # the knowledge file; empty: none knows the metrics
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the logs of one training say (analysis.json).

    `curves` holds 400 to 1200 points per metric at most: {phase: {metric: [[step, value], ..]}}.
    """

    format: str  # the family of logs: mmcv, metriclogger, ...; no number
    sources: tuple[str, ...]  # the logs
    segments: int  # starts that trained
    epochs: int  # that the logs show
    iterations: int  # of the whole training, up to its last line
    progress: Progress  # how far it came
    metrics: Mapping[Phase, Mapping[str, MetricSummary]]  # by phase (train, val) and name
    findings: tuple[Finding, ...]  # of all checks
    verdict: Verdict  # what the findings amount to
    total: str | None = None  # the metric that is the total loss
    progression: tuple[Milestone, ...] = ()  # the course of the total loss
    setup: Mapping[str, str] = field(default_factory=dict)  # what the logs say of versions and hardware
    restarts: int = 0  # starts that trained, but the first
    resumed: tuple[
        tuple[int, int], ...
    ] = ()  # after which step each began, and up to where that was done before
    untrained: int = 0  # starts that ended before they logged anything; no segments
    epochs_only: bool = False  # as in Log: steps are epochs
    by_iteration: bool = False  # the trainer counts iterations and no epochs
    step_s: float | None = None  # the median time of a step; null: the log does not say
    explanation: Explanation | None = None  # what the numbers mean
    curves: Mapping[Phase, Mapping[str, list[tuple[int, float]]]] = field(default_factory=dict)

    @property
    def total_summary(self) -> MetricSummary | None:
        """That of the total loss in training."""
        return self.metrics.get("train", {}).get(self.total or "")

    def total_curve(self, phase: Phase = "train") -> list[tuple[int, float]]:
        """That of the total loss; empty where none is logged."""
        return self.curves.get(phase, {}).get(self.total or "", [])


# ---------------------------------------------------------------------- report


@dataclass(frozen=True, slots=True)
class Training:
    """A training to compare with others, as by its stage's name or `stage1.old-1`."""

    name: str
    ingredients: Mapping[str, str]
    analysis: Analysis | None


@dataclass(frozen=True, slots=True)
class StageReport:
    """All that the report says of one stage; every part but name and state may be missing."""

    name: str
    state: str
    state_reason: str = ""
    epochs: int | None = None
    config: str = ""
    init_from: str | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    ingredients: Mapping[str, str] = field(default_factory=dict)
    attempts: tuple[AttemptRecord, ...] = ()
    train: TrainRecord | None = None
    checkpoint: CheckpointRecord | None = None
    analysis: Analysis | None = None
    acceptance: Acceptance | None = None
    bad_nodes: tuple[str, ...] = ()  # sentences; of a complete stage none
    not_promoted: str = ""  # why its last promotion was refused, where no finding says so
    failed_start: str = ""  # why the start before this report trained nothing
    iters: int | None = None  # in place of epochs
    last_lines: tuple[str, ...] = ()  # of the newest log
    archived: tuple[Training, ...] = ()  # newest first
    links: Mapping[str, str] = field(
        default_factory=dict
    )  # files by what they are, addresses seen from the report

    @property
    def log_alone(self) -> bool:
        """Whether nothing is known of it but what a log says."""
        return self.analysis is not None and not (self.attempts or self.train)


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run: its stages in training order, and where the numbers come from."""

    run: str
    stages: tuple[StageReport, ...]
    provenance: Mapping[str, str]
    overview: str | None = None  # address of the page of all runs, seen from the report; None: there is none


@dataclass(frozen=True, slots=True)
class Overview:
    """All runs of a config, in its order; `others` of another config have reports in the same folder."""

    runs: tuple[RunReport, ...]
    provenance: Mapping[str, str]
    others: tuple[str, ...] = ()
