"""config.yaml as frozen values: the keys, their types, defaults and meaning."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from string import Template
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    model_validator,
)

from trainrelay.records import Unit
from trainrelay.text import kept_secret
from trainrelay.trainers import TRAINERS, ScriptSettings, Trainer, trainer_of

_LONGEST_NAME, _LONGEST_PATH = 255, 2000  # bytes: what Linux takes, with room for ours


def expanded(path: Any) -> Any:
    """A path as a shell reads it: `~`, `$NAME`, `${NAME}`; `$$` is a plain `$`. ValueError."""
    if not isinstance(path, str):
        return path
    try:
        user, rest = re.fullmatch(r"(~[^/]*)?(.*)", path, re.DOTALL).groups("")  # type: ignore[union-attr]
        home = os.path.expanduser(user)  # noqa: PTH111 (keeps ./)
        known = {name: value for name, value in os.environ.items() if value}
        found = home + Template(rest).substitute(known)
    except KeyError as error:
        raise ValueError(f"the environment variable {error.args[0]} is not set; a plain $ is $$") from None
    except ValueError:
        raise ValueError("a plain $ is written $$") from None
    spelled = found.encode(errors="surrogatepass")
    if len(spelled) > _LONGEST_PATH or any(len(name) > _LONGEST_NAME for name in spelled.split(b"/")):
        raise ValueError(f"a path has at most {_LONGEST_PATH} bytes, each name in it {_LONGEST_NAME}")
    if home.startswith("~"):
        raise ValueError("there is no such user; write ./~ for a folder of that name")
    # What is read back as it is: a variable's ~ is no home.
    return f"./{found}" if found.startswith("~") else found


# Both names become folders, and a stage's name part of a rule's: no dot, slash, space or semicolon.
RunName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
StageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
# A rung's name becomes a log's file name.
RungName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
# Control characters, and those that turn the text around them.
CONTROL = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
LogName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.log$")]
OptionKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
GpuModel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$")]
NonEmpty = Annotated[str, StringConstraints(min_length=1, pattern=rf"^[^{CONTROL}]+$")]
# Expanded once, where your config is read: jobs and records hold the same on a node with another HOME.
_DOLLARS = PlainSerializer(lambda path: path.replace("$", "$$"))
File = Annotated[NonEmpty, BeforeValidator(expanded), _DOLLARS]
# Snakemake prints file names as they are, and reads {..} in them as a wildcard.
Folder = Annotated[
    str,
    StringConstraints(min_length=1, pattern=rf"^[^{CONTROL}{{}}]+$"),
    BeforeValidator(expanded),
    _DOLLARS,
]
# What records and Slurm can hold, and seconds that a clock can wait.
Count = Annotated[int, Field(ge=1, le=10**9)]
Seconds = Annotated[float, Field(gt=0, le=1e9)]
# No argument of a process holds NUL or half of a surrogate pair, which a pattern refuses by itself.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
Env = Annotated[Mapping[EnvName, Text], AfterValidator(kept_secret)]
OptionValue = bool | int | float | Text | list[bool | int | float | Text] | None


def _known_kind(kind: str) -> str:
    trainer_of(kind)
    return kind


Kind = Annotated[NonEmpty, AfterValidator(_known_kind), Field(examples=[*TRAINERS])]


class Model(BaseModel):
    """Frozen, unknown keys refused, strict about types; tuples take YAML's lists (strict=False)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class TrainerSettings(Model):
    """How the trainer of a run is started."""

    kind: Kind
    """Which command line and log format: mmcv (1.x, `tools/train.py` as in UniAD), mmengine (`tools/train.py`
    as in mmdet 3, mmpretrain, mmseg 1), metriclogger (scripts with argparse, as DETR's, whose lines read
    `Epoch: [0]  [  10/1458]  eta: ..`), script (any other), or the kind of an installed package."""
    root: File = "."
    """The trainer's checkout: its working directory, and first on PYTHONPATH."""
    interpreter: File | None = None
    """Python of the trainer's environment; null: the Python that runs trainrelay; with a prefix, `python`."""
    prefix: tuple[File, ...] = Field(default=(), strict=False)
    """Words before the interpreter, e.g. [apptainer, exec, --nv, image.sif]. The interpreter is then the one
    inside, and every path must be the same inside; see Containers in the docs."""
    entry: File = "./tools/train.py"
    """The training script, relative to root."""
    launch: Literal["torch.distributed.launch", "torch.distributed.run"] = "torch.distributed.run"
    """torch.distributed.launch for UniAD v1 (passes --local_rank, from torch 2.0 on --local-rank),
    torch.distributed.run for v2.0 and for scripts that declare neither."""
    nproc_per_node: int = Field(ge=1, le=1024)
    """Ranks per node; on cuda one per GPU, so equal to every stage's resources.gpu."""
    device: Literal["cuda", "cpu"] = "cuda"
    """cpu asks for no GPU."""
    env: Env = {}
    """Environment variables of the trainer, as strings. Where a name contains TOKEN, KEY, SECRET, PASSWORD,
    PASSWD or CREDENTIAL, its value is shown and recorded as ***."""
    epoch_base: Literal[0, 1] | None = None
    """What is added to the epoch in a checkpoint to count finished epochs (metriclogger, script): 1 where
    that is the epoch just trained, counted from 0 (DETR, DeiT, MAE), 0 where it counts them already
    (ImageNet's main.py); null: learned from the epochs printed around the saves."""
    script: ScriptSettings | None = None
    """For kind script: its command line, the lines that it prints and its checkpoints; null: another kind."""

    @property
    def python(self) -> str:
        """The interpreter, as the config or its default spells it."""
        return self.interpreter or ("python" if self.prefix else sys.executable)

    @property
    def trainer(self) -> Trainer:
        """The trainer of this kind."""
        return self.counting(None)

    def counting(self, iters: int | None) -> Trainer:
        """The trainer of a stage that has so many iterations, or epochs instead (None)."""
        return trainer_of(self.kind).of(self.script, self.entry, iters)


class OwnRung(Model):
    """The user's own rung: how the ranks talk."""

    backend: Literal["nccl", "gloo"]
    """torch's communication backend."""
    env: Env = {}
    """Environment variables that go with it, as strings; they win over the trainer's."""


class Resources(Model):
    """What one training asks for, on Slurm or from Snakemake's own scheduler."""

    nodes: Count = 1
    """Number of nodes; what else is asked for is per node. More than one is for Slurm alone."""
    gpu: int = Field(default=0, ge=0, le=10**9)
    """GPUs per node."""
    gpu_model: GpuModel | None = None
    """GPU type as Slurm names it, e.g. a40; null: any."""
    cpus_per_gpu: Count = 1
    """CPU cores per rank (per GPU, or per process on cpu): data workers + 1 is a good value."""
    mem_gb: Literal["all"] | Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Host memory per node in GB; all: the whole node's; null: the partition's default."""
    runtime_min: Count | None = None
    """Walltime in minutes; null: the partition's default."""
    partition: NonEmpty | None = None
    """Slurm partition; null: the site's default."""
    account: NonEmpty | None = None
    """Slurm account; null: the site's default."""
    qos: NonEmpty | None = None
    """Slurm quality of service; null: the site's default."""
    constraint: NonEmpty | None = None
    """Slurm constraint (node features); null: none."""
    legs: Literal["requeue", "array"] = "requeue"
    """How a training longer than its walltime continues: requeue, its job queues again; array, its jobs are
    queued at once as one array and run one after the other."""

    @property
    def mem_mb(self) -> int | None:
        """As Slurm wants it: 0 is all of the node's."""
        if self.mem_gb == "all":
            return 0
        return max(1, round(self.mem_gb * 1000)) if self.mem_gb else None


class Choice(Model):
    """Which checkpoint is promoted: that of an epoch, of an iteration, or that with the `best` value."""

    epoch: Count | None = None
    """The epoch, counted from 1."""
    iteration: Count | None = None
    """The number of iterations done, of a stage with iters."""
    best: NonEmpty | None = None
    """A metric of the validation that the log shows, by its name in `trainrelay analyze`, whole or what
    follows its last slash."""
    mode: Literal["max", "min"] | None = None
    """Whether the best value is the largest (max) or the smallest (min)."""

    @property
    def count(self) -> int | None:
        """The epoch or iteration, where one is named."""
        return self.epoch or self.iteration


class Keep(Model):
    """Which of the trainer's checkpoints stay, beside those that a record names and all without a number."""

    last: Count = 2
    """How many of the newest; nothing is removed before each of them is valid."""
    every: Count | None = None
    """Also each whose epoch (iteration) is a multiple of this; null: none for that."""
    best: Count | None = None
    """Also so many with the best values, with `checkpoint: {best: METRIC}`; null: the best and the second."""


class Promotion(Model):
    """Where a verified checkpoint is copied to."""

    target: File
    """The file that the next stage loads, relative to the trainer's root."""
    overwrite: bool = False
    """true: replace a file there that trainrelay did not write (it is kept as .previous)."""


class Stage(Model):
    """One training."""

    config: File
    """The trainer's config file, relative to its root; for metriclogger the script that declares its
    arguments, usually the entry itself."""
    epochs: Count | None = None
    """Epochs to train; if raised later, the training continues from its last checkpoint. A stage has either
    epochs or iters."""
    iters: Count | None = None
    """Iterations to train, for a trainer that counts those and no epochs (kinds script, mmcv, mmengine)."""
    trainer: TrainerSettings | None = None
    """Keys of the run's trainer that are others for this stage, e.g. {entry: main_finetune.py}; what its env
    does not name is as the run's."""
    init_from: StageName | None = None
    """The stage whose checkpoint this one starts from; null: whatever the trainer config says."""
    init_match_min: float | None = Field(default=None, ge=0, le=1)
    """Least share of the model's parameters that must come from the initial checkpoint, 0 to 1, else the
    training ends before its first step; null: what came is only reported (with hook)."""
    options: Mapping[OptionKey, OptionValue] = {}
    """Overrides of the trainer config: `--cfg-options` for mmcv and mmengine, e.g. data.workers_per_gpu: 4;
    arguments for metriclogger, e.g. lr_drop: 40."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Random seed; null: the trainer's own default."""
    deterministic: bool = False
    """true: `--deterministic` (mmcv), `randomness.deterministic` (mmengine)."""
    validate_: bool = Field(default=True, alias="validate")
    """false: no evaluation during training: `--no-validate` (mmcv), no `val_cfg` (mmengine)."""
    work_dir: File | None = None
    """The trainer's work dir, relative to its root; null: inside <out>/<run>/<stage>/work_dir."""
    log: LogName = "trainer.log"
    """File name of the trainer's console output in each attempt's folder."""
    checkpoint: Literal["latest"] | Choice = "latest"
    """Which checkpoint is promoted: latest (the last one), {epoch: N} ({iteration: N} of a stage with iters),
    or {best: METRIC, mode: max} (or min): that with the best validation."""
    keep: Keep | None = None
    """Removes the trainer's own checkpoints from the work dir while it trains, but for these, e.g. {last: 2,
    every: 5}; no part of the training's identity. null: none is removed."""
    promotion: Promotion | None = None
    """Where it is copied to; null: the next stage loads it from the work dir."""
    resources: Resources = Resources()
    """What the training asks Slurm, or Snakemake's own scheduler, for."""
    backends: tuple[RungName, ...] = Field(default=("nccl", "gloo"), min_length=1, strict=False)
    """The ladder of communication backends, best first: nccl, nccl-no-p2p, nccl-no-ib, nccl-no-shm, gloo, or
    names of the top-level rungs. The first that works on the node is used. On device cpu: gloo alone."""
    probe: bool = True
    """Whether the ladder is tried before the training starts; off: its first rung is taken on trust."""
    probe_timeout_s: Seconds = 120.0
    """Seconds after which a rung whose probe has not ended counts as hanging."""
    gate: bool = True
    """off: promote despite blocking findings (the report says so)."""
    master_port: int | None = Field(default=None, ge=1, le=65535)
    """Rendezvous port of the ranks; null: a free one is chosen for each attempt."""
    hang_timeout_s: Seconds | None = None
    """Seconds without a progress line or a counted step after which the trainer counts as hung, start-up and
    evaluation included; null: follows the time that its progress lines take."""

    hook: bool = True
    """off: trainrelay does not look into the trainer: its steps are not counted; nothing stops it before a
    NaN reaches the weights, no step checkpoints are saved (mmcv, mmengine)."""
    checkpoint_interval_min: float = Field(default=10.0, ge=0, le=1e6)
    """Minutes between two step checkpoints, from which a training resumes within an epoch; one is saved when
    it is to stop, too. 0: none (mmcv and mmengine, with hook)."""
    keep_steps: int = Field(default=2, ge=1, le=1000)
    """How many step checkpoints are kept; once the training is finished, none."""
    save_failures_max: int = Field(default=3, ge=1, le=10**9)
    """After so many step checkpoints in a row that could not be saved, an attempt tries no more."""
    exact: bool = False
    """true: random draws inside data workers are seeded for each sample, so that a resume within an epoch
    repeats them; part of the training's identity (mmcv and mmengine, with step checkpoints)."""

    @property
    def unit(self) -> Unit:
        """What it counts."""
        return "epoch" if self.iters is None else "iteration"

    @property
    def asked(self) -> int:
        """How many epochs or iterations to train; where config.yaml has neither, it is refused."""
        return self.iters or self.epochs or 0

    @property
    def choice(self) -> Choice:
        """What `checkpoint` asks for; nothing where that is the latest."""
        return Choice() if isinstance(self.checkpoint, str) else self.checkpoint

    @property
    def promoted_count(self) -> int:
        """The epoch or iteration that is promoted, unless the best is: the last one, or the one named."""
        return self.choice.count or self.asked

    @property
    def best(self) -> str | None:
        """`best amota (max)`, where the best is promoted."""
        return f"best {self.choice.best} ({self.choice.mode})" if self.choice.best else None


class Run(Model):
    """A named set of stages trained by one trainer."""

    trainer: TrainerSettings
    """How the trainer of its stages is started."""
    stages: Mapping[StageName, Stage] = Field(min_length=1)
    """Its stages by name: letters, digits and _, beginning with a letter."""

    @model_validator(mode="before")
    @classmethod
    def _with_whole_trainers(cls, data: Any) -> Any:
        """What a stage's trainer leaves out is as the run's; what is no mapping is refused later."""
        stages, common = (data.get("stages"), data.get("trainer")) if isinstance(data, dict) else (None, None)
        if not (isinstance(stages, dict) and isinstance(common, dict)):
            return data
        return {**data, "stages": {name: _completed(stage, common) for name, stage in stages.items()}}

    def trainer_of(self, stage: str) -> TrainerSettings:
        """How the trainer of a stage is started."""
        return self.stages[stage].trainer or self.trainer


def _completed(stage: Any, common: dict[str, Any]) -> Any:
    """A stage with its whole trainer, and on the CPU with a ladder that does not begin with NCCL."""
    if not isinstance(stage, dict):
        return stage
    if isinstance(own := stage.get("trainer"), dict):
        common = _whole(own, common)
        stage = {**stage, "trainer": common}
    return {"backends": ["gloo"], **stage} if common.get("device") == "cpu" else stage


def _whole(own: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    if own.get("kind", common.get("kind")) != common.get("kind"):  # of a kind are these
        common = {key: said for key, said in common.items() if key not in ("script", "epoch_base", "entry")}
    whole = {**common, **own}
    if isinstance(common.get("env"), dict) and isinstance(whole["env"], dict):
        whole["env"] = {**common["env"], **whole["env"]}
    return whole


class Config(Model):
    """The whole configuration."""

    out: Folder = "runs"
    """Folder for everything that trainrelay writes, relative to where snakemake is started."""
    retrain_guard_gpu_h: float = Field(default=8.0, ge=0)
    """Refuse to archive a finished training that cost more GPU-hours than this."""
    on_code_change: Literal["warn", "refuse"] = "warn"
    """What to do when the trainer's code changed since the attempt that is resumed."""
    rungs: Mapping[RungName, OwnRung] = {}
    """Ways for ranks to talk beside the built-in ones, as names for a stage's backends."""
    knowledge: tuple[File, ...] = Field(default=(), strict=False)
    """YAML files of yours that say what metrics mean, for analyses and reports; see docs/judgement.md."""
    runs: Mapping[RunName, Run] = Field(min_length=1)
    """The runs by name: letters, digits, _ and -."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Every stage name of any run, in order of first appearance: one rule each."""
        return tuple(dict.fromkeys(stage for run in self.runs.values() for stage in run.stages))

    def runs_with(self, stage: str) -> tuple[str, ...]:
        """The runs that have a stage of this name."""
        return tuple(name for name, run in self.runs.items() if stage in run.stages)

    def stage(self, run: str, stage: str) -> Stage:
        """One stage; the names are known to exist."""
        return self.runs[run].stages[stage]

    def in_order(self, run: str) -> list[str]:
        """The stages of a run, each after the one it starts from."""
        stages = self.runs[run].stages
        return sorted(stages, key=lambda name: len(ancestry(stages, name)))


def ancestry(stages: Mapping[str, Stage], name: str) -> list[str]:
    """The chain of init_from above a stage, nearest first; ends at a missing stage or a repetition."""
    chain: list[str] = []
    parent = stages[name].init_from
    while parent is not None and parent not in chain:
        chain.append(parent)
        parent = stages[parent].init_from if parent in stages else None
    return chain
