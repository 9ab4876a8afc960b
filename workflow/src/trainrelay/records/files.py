"""What is in the small JSON files that outlive a process: pydantic models, validated when they are read,
because a file may be truncated or hostile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

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
    """A file by content."""

    path: str  # where it was when it was read
    sha256: str
    size: int  # bytes


Unit = Literal["epoch", "iteration"]
"""What a training counts; words take it from here, with an s for several."""
KEYS: Mapping[Unit, str] = {"epoch": "epochs", "iteration": "iters"}
"""The key of a stage, and of our records, that says how many."""
ITERATIONS = ("iteration", "iter_num", "global_step", "global_steps", "step", "iter")
"""What trainers that count iterations call their number, in checkpoints and in tables."""


class CheckpointFacts(Record):
    """What was read from a checkpoint without running code from it."""

    file: FileDigest  # the checkpoint by content
    epoch: int | None  # finished ones; None: it does not say
    iteration: int | None  # the global one; None: it does not say
    tensors: int  # of weights
    parameters: int  # numbers in these
    finite: bool  # no weight holds a NaN, nor an infinity that training made
    first_non_finite: str | None = None  # the first weight that does
    constant_infinity: str | None = None  # the first weight with other infinities, as an attention mask

    def done(self, unit: Unit) -> int | None:
        """How many of a training's epochs or iterations it holds."""
        return self.epoch if unit == "epoch" else self.iteration


class ResumePoint(Record):
    """Where an attempt starts: a checkpoint of this stage; `epoch` None: of a training by iterations."""

    path: str  # of the checkpoint
    epoch: int | None
    iteration: int | None = None  # the global one
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

    path: str  # its folder
    step: int  # iterations of the whole training
    epoch: int  # in which it was saved
    iteration: int  # of that epoch

    def __str__(self) -> str:
        if not self.epoch:
            return f"after iteration {self.iteration}"
        place = f"in epoch {self.epoch} after iteration {self.iteration}"
        return f"{place if self.iteration else f'at the end of epoch {self.epoch - 1}'} (step {self.step})"


class ProbeResult(Record):
    """Whether the ranks of a stage could talk on a rung of its ladder."""

    rung: str  # its name in `backends`
    outcome: Literal["works", "fails", "hangs"]  # what became of the probe
    error: str | None  # the first line that matters; None: it works
    gb_per_s: dict[int, float]  # of all_reduce, by size in MB
    seconds: float  # how long it took
    log: str  # its output


class SlurmRun(Record):
    """One run of a Slurm job; a requeue begins the next one under the same id."""

    job_id: str  # as squeue shows it
    restarts: int  # how often the job was requeued before
    nodes: str  # as Slurm writes them: gpu[03-04]


class Decision(Record):
    """What followed the end of an attempt, as the supervisor concluded it; `final` needs you."""

    step: Literal["done", "stop", "again", "final"]  # again is a retry, stop an end on request
    reason: str = ""  # one sentence
    what_to_do: str = ""  # for `final`: what to run or change


class EpochBases(Record):
    """How a trainer counts epochs. None: not known yet."""

    printed: Literal[0, 1] | None = None  # what its lines call the first epoch
    saved: Literal[0, 1] | None = None  # what is added to the number in a checkpoint to count finished epochs


class FromHook(BaseModel):
    """What the hook writes in JSON; what is for its ranks alone is not read."""

    model_config = ConfigDict(frozen=True)


class InitialWeights(FromHook):
    """attempts/NNN/hook/initial.json, by rank 0: what of the model came from the initial checkpoint."""

    format: Literal[1]
    share: Annotated[float, Field(ge=0, le=1)] | None  # of the model's parameters; None: not seen
    modules: Annotated[tuple[tuple[ModuleName, Done, Done], ...], Field(max_length=20)] = ()  # keys came, all
    shapes: Annotated[tuple[ModuleName, ...], Field(max_length=21)] = ()  # keys of another shape
    left_over: Annotated[tuple[tuple[ModuleName, Done], ...], Field(max_length=20)] = ()  # only in the file

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

    number: int  # from 1, as its folder
    tag: str  # TRAINRELAY_ATTEMPT in the environment of every process of the attempt
    host: str  # of its supervisor
    place: Place  # of its supervisor
    supervisor_pid: int  # on that host
    supervisor_ticks: int  # its start, in the kernel's ticks since boot
    argv: list[str]  # the command as it was started
    env: Annotated[dict[str, str], AfterValidator(masked)]  # secrets are in no record
    cwd: str  # in which it was started
    log: str  # the trainer's console
    metrics_from: int = 0  # bytes of its metrics file that earlier attempts wrote
    backend: str  # the rung
    ladder: tuple[str, ...] = ()  # the rungs that it was chosen from, best first
    probes: tuple[ProbeResult, ...] = ()  # that led to it, in order
    world_size: int  # ranks
    epochs: int | None = None  # to train to; None: see iters
    iters: int | None = None  # of a training by iterations, which is one epoch in what follows
    resumed_from: ResumePoint | None  # None: from the beginning
    resumed_step: StepPoint | None = None  # past that, where the hook continues
    # As far as is known by now; records that do not say so are of trainings that counted as DETR does.
    epoch_bases: EpochBases = EpochBases(printed=0, saved=1)  # how its trainer counts epochs
    code: str | None = None  # the trainer checkout: commit and digest of its uncommitted changes
    signature: str | None = None  # of what it trained, as in train.json; None: of an earlier version
    slurm: SlurmRun | None = None  # where it ran; None outside of Slurm
    launch: str | None = None  # shared by all that one call of Snakemake started, requeues included
    started_s: float  # Unix time
    ended_s: float | None = None  # Unix time; None: it runs, or nobody saw its end
    end: EndClass | None = None  # why it ended; None: it runs, or nobody saw it
    reason: str | None = None  # one sentence with its evidence
    exit_status: int | None = None  # of the launcher; below 0: ended by this signal; None: not seen
    last_epoch: int | None = None  # that its log showed
    last_iteration: int | None = None  # that its log showed, within that epoch
    iters_per_epoch: int | None = None  # as its log said
    s_per_iter: float | None = None  # between its first progress line and its last; None: not seen
    final_checkpoint: CheckpointFacts | None = None  # of a finished training
    within: dict[int, int] = {}  # of files saved in the midst of an epoch: mtime in ns, and that epoch
    saved_epoch: int | None = None  # the newest that had a checkpoint when it ended
    saved_iteration: int | None = None  # the same of a training by iterations
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

    step: Done  # of the whole training
    epoch: Done  # counted from 1
    iteration: Done  # of this epoch


class HookNote(FromHook):
    """attempts/NNN/hook/rank-R.json, by a rank: what the hook added to, once that was imported."""

    format: Literal[1]
    attached: tuple[str, ...]
    error: str | None  # why it did not attach
    saves: bool = False  # a training has begun, of which step checkpoints are saved
    asks: bool = False  # the script saves by itself when it is asked to
    steps: str | None = None  # why no step checkpoints are saved
    resumed: StepsDone | None = None  # where it continued
    not_resumed: str | None = None
    save_error: str | None = None  # of a step checkpoint that could not be saved


class StepFile(FromHook):
    """A file of a step checkpoint, as its rank wrote it."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]  # of its content


class StepManifest(StepsDone):
    """attempts/NNN/steps/STEP/manifest.json, by rank 0: a step checkpoint, complete once this is there."""

    format: Literal[1]
    epoch_length: Done  # iterations of an epoch
    world_size: Done  # ranks that saved
    exact: bool  # data workers are seeded for each sample
    request: int | None = None  # the one that it answers; None: it was time to save
    saved_s: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]  # Unix time
    stall_s: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0  # the training waited for it
    write_s: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0  # rank 0's files took
    files: Annotated[dict[StepFileName, StepFile], Field(min_length=1)]  # by name, in its folder


class NotFiniteStep(Record):
    """attempts/NNN/hook/not-finite-R.json, by a rank: what it saw before an optimizer step not done."""

    format: Literal[1]
    rank: int  # that saw it
    step: int  # of the whole training, from 1
    epoch: int  # from 1
    iteration: int  # of this epoch, from 1
    loss: str | None  # its value as text; None: it was finite
    hidden: tuple[str, ...]  # losses that nan_to_num replaced
    parameters: tuple[str, ...]  # the first with such gradients
    more_parameters: int  # how many beside those
    samples: tuple[str, ...]  # of the batch, as the data set names them


class Processes(Record):
    """attempts/NNN/processes.json: its processes at the last look, also where attempt.json is damaged."""

    tag: str  # as in attempt.json
    place: Place  # where the pids count
    known: tuple[tuple[int, int], ...]  # pids, and starts in ticks since boot


class Takeover(Record):
    """A supervisor took the stage over from one that may still live."""

    token: int  # the new one's fencing token
    after_epoch: int = 0  # of what was in the work dir, checkpoints up to this epoch count,
    after_iteration: int = 0  # or up to this iteration


class Identity(Record):
    """stage.json: the training's identity. `ingredients` are flat and readable; see signature.py."""

    format: Literal[2]
    run: str  # as config.yaml names it
    stage: str  # as config.yaml names it
    ingredients: dict[str, str]  # what it is trained from
    initial_checkpoint: FileDigest | None  # None: it starts from none
    work_dir: str | None = None  # absolute: where its checkpoints are
    takeovers: tuple[Takeover, ...] = ()  # after which a part of what is in it counts
    owner: str | None = None  # the id in the owner.json of its work dirs; None: written before there was one


class Owner(Record):
    """owner.json in a work dir: whose it is."""

    id: str  # random, `owner` of stage.json; only this is compared, so that a folder may be moved
    was_empty: bool  # nothing was in it before
    folder: str  # that of its stage.json then, for messages only


class Leg(Record):
    """What one run of a Slurm job did for a training."""

    slurm: SlurmRun  # the run
    attempts: tuple[int, ...]  # their numbers
    epochs_before: int  # finished when it began
    last_epoch: int | None  # in which its last attempt was when it ended
    seconds: float  # of its attempts together
    end: EndClass  # of its last attempt
    reason: str  # of that end


class TrainRecord(Record):
    """train.json: declared output of `train`; the same bytes each time it is written again."""

    run: str  # as config.yaml names it
    stage: str  # as config.yaml names it
    epochs: int | None = None  # that the config asks for; None: see iters
    iters: int | None = None  # of a training by iterations
    signature: str  # digest of the ingredients in stage.json
    final_checkpoint: CheckpointFacts  # the one to promote, verified
    attempts: int  # how many it took
    train_s: float  # seconds of all of them
    gpu_h: float  # GPU-hours of all of them; 0 on cpu
    backend: str  # of the last attempt
    log_files: list[str]  # the consoles of all attempts, in order
    legs: tuple[Leg, ...] = ()  # runs of Slurm jobs that trained it, in order


class Score(Record):
    """The value of a metric in the validation after so many epochs or iterations."""

    unit: Unit = "epoch"
    done: int  # finished epochs or iterations
    value: float  # of the metric

    def __str__(self) -> str:
        return f"{self.value:.6g} at {self.unit} {self.done}"


class Best(Record):
    """Which checkpoint is promoted by a metric."""

    asked: str  # best METRIC (max)
    first: Score  # of equal values the earliest that has a file
    runners_up: tuple[Score, ...] = ()
    attempt: int | None = None  # the last that trained it, so whose it is; None: no record tells
    unevaluated: int | None = None  # the last epoch or iteration, if it lacks the evaluation that others have

    def __str__(self) -> str:
        equals = any(one.value == self.first.value for one in self.runners_up)
        tie = ", the earliest of equals with a file" if equals else ""
        then = f"; then {', '.join(map(str, self.runners_up))}" if self.runners_up else ""
        lacks = f"; {self.first.unit} {self.unevaluated} was not evaluated" if self.unevaluated else ""
        return f"{self.asked}: {self.first}{tie}{then}{lacks}"


class CheckpointRecord(Record):
    """checkpoint.json: declared output of `promote`. `target` is None where nothing is copied."""

    run: str  # as config.yaml names it
    stage: str  # as config.yaml names it
    source: CheckpointFacts  # the checkpoint in the work dir
    target: str | None  # its copy, which the next stage loads
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

    format: Literal[1] = 1  # of this object
    event: Event  # what happened
    run: str  # as config.yaml names it
    stage: str  # as config.yaml names it
    text: str  # what happened and what to do, printable, without secrets
    attempt: int | None  # the newest
    at_s: float  # Unix time
    folder: str  # the stage's, absolute
    report: str  # the run's page, absolute; it may not be written yet


class RemovedCheckpoint(Record):
    """A checkpoint that `keep` removed, at this Unix time."""

    name: str  # in the work dir
    count: int  # its epoch or iteration
    size: int  # bytes
    at_s: float  # Unix time


class Removals(Record):
    """removed.json: all that `keep` removed. Written before a file goes, so none is missing unexplained."""

    files: tuple[RemovedCheckpoint, ...] = ()


class NotPromoted(Record):
    """not-promoted.json: why the last promotion was refused; removed by the next one."""

    reason: str  # one sentence


class Acceptance(Record):
    """accepted.json, accepted-retrain.json: your decision. Holds for one subject only (see `subject`)."""

    kind: Literal["gate", "retrain"]  # a promotion (gate) or a training from scratch (retrain)
    subject: str  # what was accepted: a checkpoint's sha256, or the signature of a change
    reason: str  # as you gave it
    at_s: float  # Unix time
    checkpoint: CheckpointFacts | None = None  # kind gate: the checkpoint that is taken as it is,
    epochs: int | None = None  # for as long as the config asks for this many epochs,
    iters: int | None = None  # or iterations,
    attempt: int | None = None  # and this attempt is the newest; None: any, as earlier versions wrote
