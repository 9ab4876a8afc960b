"""What is in the small JSON files that outlive a process: pydantic models, validated when they are read,
because a file may be truncated or hostile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from trainrelay.text import masked, printable

EndClass = Literal[
    "done",  # all epochs trained, final checkpoint there
    "interrupted",  # you requested a stop
    "time-limit",  # Slurm requested a stop: the time limit of its job was near
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
    "node",  # its node was lost, or a GPU of it failed
]

FORMAT: Literal[2] = 2
"""Of stage.json: how `signature.py` counts its ingredients."""


class Record(BaseModel):
    """A JSON file of ours: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Done = Annotated[int, Field(ge=0, le=10**12)]
StepFileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
# They end up in sentences, in commands to type, and in squeue's argv.
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{0,64}$")]
# They end up in sentences.
ModuleName = Annotated[str, StringConstraints(max_length=500), AfterValidator(printable)]


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


Unit = Literal["epoch", "iteration"]
"""What a training counts; words take it from here, with an s for several."""
KEYS: Mapping[Unit, str] = {"epoch": "epochs", "iteration": "iters"}
"""The key of a stage, and of our records, that says how many."""
ITERATIONS = ("iteration", "iter_num", "global_step", "step", "iter")
"""What trainers that count iterations call their number, in checkpoints and in tables."""


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

    def done(self, unit: Unit) -> int | None:
        """How many of a training's epochs or iterations it holds."""
        return self.epoch if unit == "epoch" else self.iteration


class ResumePoint(Record):
    """Where an attempt starts: a checkpoint of this stage; `epoch` None: of a training by iterations."""

    path: str
    epoch: int | None
    iteration: int | None = None
    within: bool = False  # saved in the midst of the next epoch

    @property
    def done(self) -> int:
        """The epochs that it holds, or the iterations of a training that counts those."""
        return (self.iteration or 0) if self.epoch is None else self.epoch

    def __str__(self) -> str:
        return f"{'iteration' if self.epoch is None else 'epoch'} {self.done}"


class StepPoint(Record):
    """A point where an attempt starts: a step checkpoint of this stage.

    So many iterations of this epoch, counted from 1, are done; `step` counts those of the whole training.
    With none done it continues at the end of the epoch before, and evaluates again. Epoch 0: it counts none.
    """

    path: str
    step: int
    epoch: int
    iteration: int

    def __str__(self) -> str:
        if not self.epoch:
            return f"after iteration {self.iteration}"
        place = f"in epoch {self.epoch} after iteration {self.iteration}"
        return f"{place if self.iteration else f'at the end of epoch {self.epoch - 1}'} (step {self.step})"


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


class FromHook(BaseModel):
    """What the hook writes in JSON; what is for its ranks alone is not read."""

    model_config = ConfigDict(frozen=True)


class InitialWeights(FromHook):
    """attempts/NNN/hook/initial.json, by rank 0: what of the model came from the initial checkpoint.

    `share` of the model's parameters, None: not seen; `modules` have the keys that came, and all.
    """

    format: Literal[1]
    share: Annotated[float, Field(ge=0, le=1)] | None
    modules: Annotated[tuple[tuple[ModuleName, Done, Done], ...], Field(max_length=20)] = ()
    shapes: Annotated[tuple[ModuleName, ...], Field(max_length=21)] = ()
    left_over: Annotated[tuple[tuple[ModuleName, Done], ...], Field(max_length=20)] = ()

    def __str__(self) -> str:
        """In one line."""
        if self.share is None:
            return "not known: the trainer loads it by its own code, in parts, or not at all"
        new = {name: keys for name, came, keys in self.modules if not came}
        parts = [f"{name}: {came} of {keys}" for name, came, keys in self.modules if came]
        said = [f"{100 * self.share:.4g} % of the model's parameters", *_keys("new", new), *parts]
        said += [f"of another shape: {', '.join(self.shapes)}"] if self.shapes else []
        return "; ".join([*said, *_keys("only in the file", dict(self.left_over))])


def _keys(what: str, modules: Mapping[str, int]) -> list[str]:
    return [f"{', '.join(modules)}: {what}, {sum(modules.values())} keys"] if modules else []


class AttemptRecord(Record):
    """attempts/NNN/attempt.json: one start of the trainer. Times are Unix seconds."""

    number: int
    tag: str  # TRAINRELAY_ATTEMPT in the environment of every process of the attempt
    host: str
    place: Place  # of its supervisor
    supervisor_pid: int
    supervisor_ticks: int  # its start, in the kernel's ticks since boot
    argv: list[str]
    env: Annotated[dict[str, str], AfterValidator(masked)]  # secrets are in no record
    cwd: str
    log: str
    metrics_from: int = 0  # bytes of its metrics file that earlier attempts wrote
    backend: str  # the rung
    ladder: tuple[str, ...] = ()  # the rungs that it was chosen from, best first
    probes: tuple[ProbeResult, ...] = ()  # that led to it, in order
    world_size: int
    epochs: int | None = None
    iters: int | None = None  # of a training by iterations, which is one epoch in what follows
    resumed_from: ResumePoint | None
    resumed_step: StepPoint | None = None  # past that, where the hook continues
    # As far as is known by now; records that do not say so are of trainings that counted as DETR does.
    epoch_bases: EpochBases = EpochBases(printed=0, saved=1)
    code: str | None = None  # the trainer checkout: commit and digest of its uncommitted changes
    signature: str | None = None  # of what it trained, as in train.json; None: of an earlier version
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
    s_per_iter: float | None = None  # between its first progress line and its last; None: not seen
    final_checkpoint: CheckpointFacts | None = None
    within: dict[int, int] = {}  # of files saved in the midst of an epoch: mtime in ns, and that epoch
    saved_epoch: int | None = None  # the newest that had a checkpoint when it ended
    saved_iteration: int | None = None
    hook: str | None = None  # why it did not attach; None: it did, or is off
    not_resumed: str | None = None  # why the training did not continue at `resumed_step`
    unsaved: str | None = None  # why no step checkpoints were saved, or no more
    initial: InitialWeights | None = None  # what came from the initial checkpoint; None: resumed, or not seen
    decision: Decision | None = None  # None: open, ended by a crash of its supervisor, or of an older version

    @property
    def unit(self) -> Unit:
        """What its training counts."""
        return "epoch" if self.iters is None else "iteration"

    @property
    def asked(self) -> int:
        """How many epochs or iterations it was to train to."""
        return self.iters or self.epochs or 0

    @property
    def resumed_at(self) -> int:
        """How many of them were in the checkpoint that it resumed from."""
        return self.resumed_from.done if self.resumed_from else 0

    @property
    def printed(self) -> int | None:
        """The last epoch or iteration that its log showed."""
        return self.last_epoch if self.unit == "epoch" else self.last_iteration

    @property
    def seconds(self) -> float:
        """How long it ran; nothing while it is open, and nothing below that, whatever the clocks showed."""
        return max(0.0, (self.ended_s or self.started_s) - self.started_s)

    @property
    def began(self) -> tuple[int, int]:
        """The epochs that were finished when it began, and the iterations of the next one."""
        if self.resumed_step and self.not_resumed is None:
            return max(0, self.resumed_step.epoch - 1), self.resumed_step.iteration
        return (self.resumed_at, 0) if self.unit == "epoch" else (0, self.resumed_at)

    def may_have_trained(self, count: int) -> bool:
        """Whether it may have come to an epoch (iteration) that was not finished when it began."""
        begun = self.began[self.unit == "iteration"]
        return begun < count and (self.printed is None or max(self.printed, self.newest_saved) >= count)

    @property
    def hook_problems(self) -> tuple[str, ...]:
        """What the hook was to do in it and did not, in sentences."""
        step = self.not_resumed and f"not resumed {self.resumed_step}: {self.not_resumed}"
        return tuple(why for why in (self.hook, step, self.unsaved) if why)

    @property
    def newest_saved(self) -> int:
        """The newest epoch or iteration that is known to have had a checkpoint; 0 where none is."""
        saved = self.saved_epoch if self.unit == "epoch" else self.saved_iteration
        final = self.final_checkpoint and self.final_checkpoint.done(self.unit)
        return max(saved or 0, self.resumed_at, final or 0)


class StepsDone(FromHook):
    """How far the trainer is: so many iterations of this epoch, counted from 1 (0: of all), are done."""

    step: Done
    epoch: Done
    iteration: Done


class HookNote(FromHook):
    """attempts/NNN/hook/rank-R.json, by a rank: what the hook added to, once that was imported.

    `saves`: a training has begun, of which step checkpoints are saved; `steps`: why none are. `asks`: the
    script saves by itself when asked to.
    """

    format: Literal[1]
    attached: tuple[str, ...]
    error: str | None
    saves: bool = False
    asks: bool = False
    steps: str | None = None
    resumed: StepsDone | None = None
    not_resumed: str | None = None
    save_error: str | None = None


class StepFile(FromHook):
    """A file of a step checkpoint, as its rank wrote it."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class StepManifest(StepsDone):
    """attempts/NNN/steps/STEP/manifest.json, by rank 0: a step checkpoint, complete once this is there.

    `request`: the one that it answers; None: it was time to save. The training waited for `stall_s`; rank
    0 wrote its files within `write_s`.
    """

    format: Literal[1]
    epoch_length: Done
    world_size: Done
    exact: bool
    request: int | None = None
    saved_s: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
    stall_s: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    write_s: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    files: Annotated[dict[StepFileName, StepFile], Field(min_length=1)]


class NotFiniteStep(Record):
    """attempts/NNN/hook/not-finite-R.json, by a rank: what it saw before an optimizer step that was not done.

    Counted from 1. `hidden`: losses that nan_to_num replaced; `parameters`: the first with such gradients.
    """

    format: Literal[1]
    rank: int
    step: int
    epoch: int
    iteration: int
    loss: str | None
    hidden: tuple[str, ...]
    parameters: tuple[str, ...]
    more_parameters: int
    samples: tuple[str, ...]


class Processes(Record):
    """attempts/NNN/processes.json: its processes at the last look, whatever their environment.

    `known` are pids and starts in ticks since boot. Read also where attempt.json is damaged.
    """

    tag: str
    place: Place
    known: tuple[tuple[int, int], ...]


class Takeover(Record):
    """A supervisor took the stage over from one that may still live, under this fencing token.

    Of what lay in the work dir before, checkpoints up to `after_epoch`, or `after_iteration`, count.
    """

    token: int
    after_epoch: int = 0
    after_iteration: int = 0


class Identity(Record):
    """stage.json: the training's identity. `ingredients` are flat and readable; see signature.py."""

    format: Literal[2]
    run: str
    stage: str
    ingredients: dict[str, str]
    initial_checkpoint: FileDigest | None
    work_dir: str | None = None  # absolute: where its checkpoints are
    takeovers: tuple[Takeover, ...] = ()  # after which a part of what is in it counts
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
    epochs: int | None = None
    iters: int | None = None
    signature: str
    final_checkpoint: CheckpointFacts
    attempts: int
    train_s: float
    gpu_h: float
    backend: str
    log_files: list[str]
    legs: tuple[Leg, ...] = ()  # runs of Slurm jobs that trained it, in order


class Score(Record):
    """The value of a metric in the validation after so many epochs or iterations."""

    unit: Unit = "epoch"
    done: int = Field(validation_alias=AliasChoices("done", "epoch"))  # the latter of an earlier version
    value: float

    def __str__(self) -> str:
        return f"{self.value:.6g} at {self.unit} {self.done}"


class Best(Record):
    """Which checkpoint is promoted by a metric; of equal values the earliest is `first`.

    `attempt`: the last one that trained it, whose weights are promoted; None: no record tells.
    """

    asked: str  # best METRIC (max)
    first: Score
    runners_up: tuple[Score, ...] = ()
    attempt: int | None = None

    def __str__(self) -> str:
        tie = any(one.value == self.first.value for one in self.runners_up)
        then = f"; then {', '.join(map(str, self.runners_up))}" if self.runners_up else ""
        return f"{self.asked}: {self.first}{', the earliest of equals' if tie else ''}{then}"


class CheckpointRecord(Record):
    """checkpoint.json: declared output of `promote`. `target` is None where nothing is copied."""

    run: str
    stage: str
    source: CheckpointFacts
    target: str | None
    accepted: str | None  # the reason you gave to override a blocking finding
    best: Best | None = None  # where the best was asked for


class Promotions(Record):
    """promoted.json: all that this stage ever promoted to its target, oldest first; only added to.

    A digest is added before its copy is made, so that a file of ours is never taken for another's.
    """

    written: tuple[FileDigest, ...] = ()
    best: CheckpointRecord | None = None  # the last one by a metric: Snakemake removes checkpoint.json first


Event = Literal["needs you", "diverged", "no progress", "fell back", "complete", "promoted"]


class Notice(Record):
    """What the command `notify` of site.yaml is given on its standard input."""

    format: Literal[1] = 1
    event: Event
    run: str
    stage: str
    text: str  # what happened and what to do, printable, without secrets
    attempt: int | None  # the newest
    at_s: float  # Unix time
    folder: str  # the stage's, absolute
    report: str  # the run's page, absolute; it may not be written yet


class RemovedCheckpoint(Record):
    """A checkpoint that `keep` removed, at this Unix time."""

    name: str  # in the work dir
    count: int  # its epoch or iteration
    size: int
    at_s: float


class Removals(Record):
    """removed.json: all that `keep` removed. Written before a file goes, so none is missing unexplained."""

    files: tuple[RemovedCheckpoint, ...] = ()


class NotPromoted(Record):
    """not-promoted.json: why the last promotion was refused; removed by the next one."""

    reason: str


class Acceptance(Record):
    """accepted.json, accepted-retrain.json: your decision. Holds for one subject only (see `subject`)."""

    kind: Literal["gate", "retrain"]
    subject: str  # what was accepted: a checkpoint's sha256, or the signature of a change
    reason: str
    at_s: float
    checkpoint: CheckpointFacts | None = None  # kind gate: the checkpoint that is taken as it is,
    epochs: int | None = None  # for as long as the config asks for this many epochs,
    iters: int | None = None  # or iterations,
    attempt: int | None = None  # and this attempt is the newest; None: any, as earlier versions wrote
