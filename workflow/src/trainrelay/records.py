"""The nouns: what the parts hand each other, in memory and in files.

Two kinds live here. Small JSON files that outlive a process are pydantic models, validated when they
are read, because a file may be truncated or hostile. What flows between functions is plain frozen
dataclasses. Nothing here reads or writes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

# "epoch" is the mean of a training epoch as the trainer prints it, where its rows are something else
# (MetricLogger's rows are medians of the last 20 iterations).
Phase = Literal["train", "val", "epoch"]
Severity = Literal["info", "warning", "critical"]
VerdictKind = Literal["healthy", "warning", "failed", "not judged"]
EndClass = Literal[
    "done",  # all epochs trained, final checkpoint there
    "interrupted",  # a person asked us to stop
    "time-limit",  # Slurm asked us to stop: the time limit of its job was near
    "preempted",  # Slurm asked us to stop: another job needed its nodes
    "unfinished",  # the trainer exited 0 without its last epoch
    "trainer-bug",  # an exception of the trainer that is not communication
    "comm",  # communication between ranks (NCCL, gloo, port)
    "oom-gpu",
    "oom-host",
    "killed",  # a signal from outside ended a rank
    "diverged",
    "disk-full",
    "not-resumed",  # asked to resume, started from zero
    "hang",  # no progress for longer than the watchdog allows
    "port",  # the port of the ranks' rendezvous was taken
    "lost",  # the supervisor died; nobody saw the end
]

RULES: Literal[2] = 2
"""How `signature.py` counts: 1, each statement of a trainer config; 2, the values that it ends with."""

# ---------------------------------------------------------------------- files of ours (JSON)


class Record(BaseModel):
    """A JSON file of ours: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# They end up in sentences, in commands to type, and in squeue's argv.
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{0,64}$")]


class Place(Record):
    """Where a process runs: the host's name, and what tells apart two that share it. Empty: not known."""

    host: HostName
    machine: Word = ""  # /etc/machine-id
    boot: Word = ""  # the kernel's boot id
    pid_namespace: Word = ""  # in which the pid counts


class FileDigest(Record):
    """A file by content. `size` in bytes."""

    path: str
    sha256: str
    size: int


class CheckpointFacts(Record):
    """What was read from a checkpoint without running code from it.

    `epoch` counts finished epochs, `iteration` is the global one; `tensors` and `parameters` count the
    weights only. `first_non_finite` names the first weight with a NaN or an infinity; infinities that no step
    of training made are finite: `constant_infinity` names the first weight with such, an attention mask.
    """

    file: FileDigest
    epoch: int | None
    iteration: int | None
    tensors: int
    parameters: int
    finite: bool
    first_non_finite: str | None = None
    constant_infinity: str | None = None


class ResumePoint(Record):
    """Where an attempt starts: a checkpoint of this stage."""

    path: str
    epoch: int
    iteration: int | None = None


class ProbeResult(Record):
    """Whether the ranks of a stage could talk on a rung of its ladder.

    `error` is the first line that matters, None where it works; `gb_per_s` of all_reduce by size in MB.
    """

    rung: str
    outcome: Literal["works", "fails", "hangs"]
    error: str | None
    gb_per_s: dict[int, float]
    seconds: float
    log: str


class SlurmRun(Record):
    """One run of a Slurm job; a requeue begins the next one under the same id."""

    job_id: str
    restarts: int  # how often the job was requeued before
    nodes: str  # as Slurm writes them: gpu[03-04]


class Decision(Record):
    """What followed the end of an attempt, as the supervisor concluded it; `final` needs you."""

    step: Literal["done", "stop", "again", "final"]
    reason: str = ""
    what_to_do: str = ""


class EpochBases(Record):
    """How a trainer counts epochs. None: not known yet."""

    printed: Literal[0, 1] | None = None  # what its lines call the first epoch
    saved: Literal[0, 1] | None = None  # what is added to the number in a checkpoint to count finished epochs


class AttemptRecord(Record):
    """attempts/NNN/attempt.json: one start of the trainer. Times are Unix seconds."""

    number: int
    tag: str  # TRAINRELAY_ATTEMPT in the environment of every process of the attempt
    host: str
    place: Place | None = None  # None: recorded before places were, with
    supervisor_start_s: float | None = None  # the start in Unix time
    supervisor_pid: int
    supervisor_ticks: int | None = None  # its start, in the kernel's ticks since boot
    argv: list[str]
    env: dict[str, str]
    cwd: str
    log: str
    backend: str  # the rung
    ladder: tuple[str, ...] = ()  # the rungs that it was chosen from, best first
    probes: tuple[ProbeResult, ...] = ()  # that led to it, in order
    world_size: int
    epochs: int
    resumed_from: ResumePoint | None
    # As far as is known by now; records that do not say so are of trainings that counted as DETR does.
    epoch_bases: EpochBases = EpochBases(printed=0, saved=1)
    code: str | None = None  # the trainer checkout: commit and digest of its uncommitted changes
    slurm: SlurmRun | None = None  # where it ran; None outside of Slurm
    launch: str | None = None  # shared by all that one call of Snakemake started, requeues included
    started_s: float
    ended_s: float | None = None
    end: EndClass | None = None
    reason: str | None = None  # one sentence with its evidence
    exit_status: int | None = None
    last_epoch: int | None = None
    last_iteration: int | None = None
    iters_per_epoch: int | None = None
    final_checkpoint: CheckpointFacts | None = None
    saved_epoch: int | None = None  # the newest that had a checkpoint when it ended
    decision: Decision | None = None  # None: open, ended by a crash of its supervisor, or of an older version

    @property
    def newest_saved(self) -> int:
        """The newest epoch that is known to have had a checkpoint; 0 where none is."""
        points = (self.resumed_from, self.final_checkpoint)
        return max(self.saved_epoch or 0, *((one and one.epoch) or 0 for one in points))


class Processes(Record):
    """attempts/NNN/processes.json: its processes at the last look, whatever their environment.

    `known` are pids and starts in ticks since boot. Read also where attempt.json is damaged.
    """

    tag: str
    place: Place
    known: tuple[tuple[int, int], ...]


class Takeover(Record):
    """A supervisor took the stage over from one that may still live, under this fencing token.

    Of what lay in the work dir before, checkpoints up to `after_epoch` count.
    """

    token: int
    after_epoch: int


class Identity(Record):
    """stage.json: what this training is. `ingredients` are flat and readable; see signature.py."""

    format: Literal[1, 2] = 1  # by which rules the ingredients were counted
    run: str
    stage: str
    ingredients: dict[str, str]
    initial_checkpoint: FileDigest | None
    work_dir: str | None = None  # absolute: where its checkpoints lie,
    takeovers: tuple[Takeover, ...] = ()  # and what lies beside it; see work_dirs.py
    owner: str | None = None  # the id in the owner.json of its work dirs; None: written before there was one


class Owner(Record):
    """owner.json in a work dir: whose it is. Only `id` is compared, so that a folder may be moved.

    `was_empty`: nothing was in it before. `folder`, that of its stage.json then, is for messages only.
    """

    id: str
    was_empty: bool
    folder: str


class Leg(Record):
    """What one run of a Slurm job did for a training. `attempts` by number.

    `epochs_before` were finished when it began; its last attempt was in epoch `last_epoch` when it ended.
    """

    slurm: SlurmRun
    attempts: tuple[int, ...]
    epochs_before: int
    last_epoch: int | None
    seconds: float
    end: EndClass
    reason: str


class TrainRecord(Record):
    """train.json: declared output of `train`; the same bytes each time it is written again."""

    run: str
    stage: str
    epochs: int
    signature: str
    final_checkpoint: CheckpointFacts
    attempts: int
    train_s: float
    gpu_h: float
    backend: str
    log_files: list[str]
    legs: tuple[Leg, ...] = ()  # runs of Slurm jobs that trained it, in order


class CheckpointRecord(Record):
    """checkpoint.json: declared output of `promote`. `target` is None where nothing is copied."""

    run: str
    stage: str
    source: CheckpointFacts
    target: str | None
    accepted: str | None  # the reason a person gave for going on past a blocking finding


class Promotions(Record):
    """promoted.json: all that this stage ever handed on to its target, oldest first; made to be added to.

    A digest is added before its copy is made, so that a file of ours is never taken for another's.
    """

    written: tuple[FileDigest, ...] = ()


class Acceptance(Record):
    """accepted.json, accepted-retrain.json: your decision. Holds for one subject only (see `subject`)."""

    kind: Literal["gate", "retrain"]
    subject: str  # what was accepted: a checkpoint's sha256, or the signature of a change
    reason: str
    at_s: float
    checkpoint: CheckpointFacts | None = None  # kind gate: the checkpoint that is taken as it is,
    epochs: int | None = None  # for as long as the config asks for this many epochs


# ---------------------------------------------------------------------- logs -> one table


@dataclass(frozen=True, slots=True)
class Row:
    """One logged line. `iteration` counts inside the epoch as printed, `step` over the whole run.

    `step` is the number of iterations done, so that the last one of an epoch is the epoch's length, also
    where the trainer prints iterations from 0. `epoch` is 1-based. `segment` counts restarts from 0.
    """

    step: int
    epoch: int
    iteration: int
    phase: Phase
    segment: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Marker:
    """A line that says something about the training besides numbers."""

    kind: Literal["started", "resumed", "loaded", "saved", "mismatch", "error"]
    text: str
    segment: int
    epoch: int | None = None
    iteration: int | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """All logs of one training as one table; overlaps after a resume are resolved, later wins.

    `config` holds the literals of the trainer config that the log prints, flat and dotted, e.g.
    `{"optimizer_config.grad_clip.max_norm": 35}`. `setup` holds what the log tells of the machine
    (`gpus`, `gpu`, `torch`, `cuda`, `backend`, `host`, `work_dir`), as printed. `epochs_only`: the log knows
    no iterations; its training rows are epoch means, `step` is the epoch and `iteration` 0. `superseded`: how
    many segments trained before a start from zero and have no row here.
    """

    format: str
    sources: tuple[str, ...]
    rows: tuple[Row, ...]
    markers: tuple[Marker, ...] = ()
    iters_per_epoch: int | None = None
    max_epochs: int | None = None
    interval: int | None = None
    segments: int = 1
    superseded: int = 0
    redone_iterations: int = 0
    skipped_lines: int = 0
    epochs_only: bool = False
    setup: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def series(self, metric: str, phase: Phase = "train") -> tuple[list[int], list[float]]:
        """Steps and values of one metric, in order."""
        pairs = [
            (row.step, row.values[metric]) for row in self.rows if row.phase == phase and metric in row.values
        ]
        return [step for step, _ in pairs], [value for _, value in pairs]

    def metrics(self, phase: Phase = "train") -> list[str]:
        """Every metric of a phase, in the order of first appearance."""
        seen: dict[str, None] = {}
        for row in self.rows:
            if row.phase == phase:
                seen.update(dict.fromkeys(row.values))
        return list(seen)


# ---------------------------------------------------------------------- analysis


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the workflow knows of a stage that its log need not say. None: not known."""

    epochs: int | None = None
    backend: str | None = None
    initial_checkpoint: str | None = None
    resumed: tuple[ResumePoint, ...] = ()  # one per attempt that was asked to resume
    ended: tuple[EndClass, ...] = ()  # of each attempt, in order
    failed: tuple[str, ...] = ()  # how the trainer failed, of each attempt that saved a checkpoint before
    finished: bool = False  # its last checkpoint says so, whatever the log shows


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `blocking` closes the gate of promote until a person accepts it."""

    check: str
    severity: Severity
    message: str  # one sentence with the numbers
    metric: str | None = None
    where: str | None = None  # e.g. "epoch 2, iter 40"
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    blocking: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the findings amount to, and the sentence that says why."""

    kind: VerdictKind
    reason: str


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
    epoch: int
    iteration: int
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class Explained:
    """One thing that a log prints: what it is, and what is known of it.

    `facts` are pairs of a word and a text, e.g. ("sign", "never negative"), ("here", "1.21 -> 0.48").
    """

    name: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()


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
    """What the numbers of a log mean, for a person who reads such a log for the first time.

    `model` names the knowledge file; empty where none knows the metrics.
    """

    model: str
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the logs of one training say (analysis.json).

    `curves` holds at most a few hundred points per metric: {phase: {metric: [[step, value], ..]}}.
    """

    format: str
    sources: tuple[str, ...]
    segments: int
    epochs: int
    iterations: int
    progress: Progress
    metrics: Mapping[Phase, Mapping[str, MetricSummary]]
    findings: tuple[Finding, ...]
    verdict: Verdict
    total: str | None = None  # the metric that is the total loss
    progression: tuple[Milestone, ...] = ()
    setup: Mapping[str, str] = field(default_factory=dict)
    epochs_only: bool = False  # as in Log: steps are epochs
    explanation: Explanation | None = None
    curves: Mapping[Phase, Mapping[str, list[tuple[int, float]]]] = field(default_factory=dict)


# ---------------------------------------------------------------------- report


@dataclass(frozen=True, slots=True)
class StageReport:
    """All that the report says of one stage; every part but name and state may be missing."""

    name: str
    state: str
    state_reason: str
    epochs: int
    config: str
    init_from: str | None
    resources: Mapping[str, Any]
    ingredients: Mapping[str, str]
    attempts: tuple[AttemptRecord, ...] = ()
    train: TrainRecord | None = None
    checkpoint: CheckpointRecord | None = None
    analysis: Analysis | None = None
    acceptance: Acceptance | None = None


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
