"""What would happen to each stage, and why: `trainrelay plan` and the rules print these values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from trainrelay.config import Config, load_site
from trainrelay.slurm import sbatch_flags
from trainrelay.system.files import one_reading, read_once
from trainrelay.text import masked
from trainrelay.trainers import Launch, LaunchRequest, not_understood, torch_release, whole_load
from trainrelay.training import state
from trainrelay.training.archiving import next_archive, not_archived
from trainrelay.training.bad_nodes import to_exclude
from trainrelay.training.context import StageContext
from trainrelay.training.cost import Price, iterations_trained, legs, price
from trainrelay.training.finished import epochs_trained
from trainrelay.training.request import cores, launch_request, missing, unsupported
from trainrelay.training.signature import Difference

Action = Literal["nothing", "train", "resume", "extend", "retrain", "wait", "refuse"]
TRAINS: frozenset[Action] = frozenset({"train", "resume", "extend", "retrain"})
COSTS = TRAINS | {"wait"}  # GPU-hours are still to be spent


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage: its state, what would be done, the reason, and the exact command."""

    run: str
    stage: str
    state: state.StateKind
    action: Action
    reason: str
    doing: str  # what would be done, in words
    differences: tuple[Difference, ...]
    runtime_min: int | None
    devices: str  # "8 x a40"
    trained_with: str  # epochs, config, ladder
    launch: Launch
    archived_to: Path | None = None
    gpu_h: float = 0.0  # so far
    price: Price | None = None  # of what is to be trained, or trains; None: nothing was measured yet
    on_gpus: bool = True
    sbatch: tuple[str, ...] = ()
    legs: int = 1  # tasks of the array that trains it; 1: a job that is requeued
    notes: tuple[str, ...] = ()  # what a start would not find on this machine; the room that our copy takes
    ingredients: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()  # why nothing may be submitted although something would be trained
    too_short: str | None = None  # why no job within its time limit would save a checkpoint

    @property
    def trains(self) -> bool:
        """Whether the trainer would be started."""
        return self.action in TRAINS

    @property
    def gpu_h_left(self) -> float | None:
        """GPU-hours still to be spent (process-hours on cpu); None where nothing was measured yet."""
        if self.action not in COSTS:
            return 0.0
        return self.price.gpu_h if self.price else None

    def asks(self, runtime_min: int | None = None) -> str:
        """GPUs, minutes, epochs, config and ladder in one line."""
        minutes = runtime_min or self.runtime_min
        return f"{self.devices}, {f'{minutes} min' if minutes else 'no runtime_min'}, {self.trained_with}"

    def message(self, runtime_min: int | None = None) -> str:
        """What a dry run prints of the stage."""
        lines = [f"{self.run}/{self.stage}: {self.doing}", self.asks(runtime_min)]
        lines += [f"{self.state}: {self.reason}", *self.refused, *map(str, self.differences)]
        lines += [f"note: {note}" for note in self.notes]
        return "\n  ".join(lines)


@one_reading()
def plan(config: Config) -> list[StagePlan]:
    """Every stage of every run, each after the one it starts from."""
    plans: list[StagePlan] = []
    for run in config.runs:
        trained: dict[str, bool] = {}
        for stage in config.in_order(run):
            at = StageContext(config, run, stage)
            parent = at.settings.init_from
            planned = stage_plan(at, parent if parent and trained[parent] else None)
            trained[stage] = planned.trains
            plans.append(planned)
    return plans


@one_reading()
def stage_plan(at: StageContext, training_parent: str | None = None) -> StagePlan:
    """One stage; `training_parent` names the earlier stage where that one trains first."""
    facts = state.read(at)
    judged, settings = state.judge(facts), at.settings
    action, reason = _action(judged, facts, training_parent)
    archived_to = next_archive(facts) if action == "retrain" else None
    request = _request(facts, action)
    fresh, problems = judged.kind == "fresh", unsupported(at, request)
    refused = _refusals(facts, action, fresh, problems) if action in TRAINS else []
    action = "refuse" if refused else action
    too_short = _too_short(facts) if action in TRAINS else None
    cost = _price(facts, action)
    queued = _legs(facts, action, cost)
    site = read_once(load_site)
    launch = at.trainer.launch(request, {})
    excluded, bad = to_exclude(at, site) if action in TRAINS else ((), ())
    return StagePlan(
        run=at.run,
        stage=at.stage,
        state=judged.kind,
        action=action,
        reason=reason,
        doing=_doing(action, facts, archived_to),
        differences=judged.differences,
        runtime_min=settings.resources.runtime_min,
        devices=_devices(at),
        trained_with=(
            f"{settings.epochs} epochs, config {settings.config}, backends {' > '.join(settings.backends)}"
        ),
        launch=replace(launch, env=masked(launch.env)),
        archived_to=archived_to,
        gpu_h=facts.gpu_h,
        price=cost,
        on_gpus=at.trainer_settings.device == "cuda",
        sbatch=sbatch_flags(settings.resources, site.without(excluded), cores(at), queued),
        legs=queued,
        notes=(*_notes(facts, request, training_parent, action), *bad),
        ingredients=facts.ingredients,
        refused=tuple(refused),
        too_short=too_short,
    )


def _notes(facts: state.Facts, request: LaunchRequest, parent: str | None, action: Action) -> Iterator[str]:
    settings = facts.at.settings
    if facts.attempts and not (facts.promoted or facts.alive):
        for path, why in not_understood(path for _, path in facts.checkpoints[:1]):
            yield f"{path} {why}; it is neither resumed from nor promoted"
    if action not in TRAINS:
        return
    # What an earlier stage is still to promote is not missing.
    there = settings.init_from is None or (facts.parent and not parent)
    initial = initial_path(facts.at) if there else None
    yield from (f"refused if started here: {why}" for why in missing(request, initial, settings.init_from))
    if request.device == "cpu" and settings.resources.gpu:
        yield f"it asks for {settings.resources.gpu} GPUs and trains on the CPU (device: cpu)"
    declared, rung = request.trainer_config.switches, request.rung.backend
    if declared and "dist_backend" not in declared and rung != "nccl":
        yield f"{request.config} declares no --dist_backend: its one rank uses what it names, not {rung}"
    known = request.trainer_config.problem is None
    if known and settings.resources.runtime_min and _interval(facts) is None:
        yield "how often it saves a checkpoint is unknown, so runtime_min may be too short for one"
    if settings.hook and facts.attempts and facts.attempts[-1].hook:
        yield f"attempt {facts.attempts[-1].number}: {facts.attempts[-1].hook}"
    for path in (path for _, path in facts.checkpoints if path.parent == facts.work_dirs.kept):
        yield f"keeps a copy of {path.name}, which the trainer overwrites: {path.stat().st_size / 1e9:.2g} GB"
    yield from filter(None, [whole_load(request, torch_release(request.interpreter)), _too_short(facts)])


def _interval(facts: state.Facts) -> int | None:
    return facts.at.trainer.checkpoint_interval(facts.at.trainer_config, facts.at.settings.options)


def _too_short(facts: state.Facts) -> str | None:
    """Each job would train for nothing, one after the other: known before anything is submitted."""
    limit_min, interval = facts.at.settings.resources.runtime_min, _interval(facts)
    # A few lines tell a price, but not that nothing may be submitted.
    long = [one for one in facts.attempts if iterations_trained(one) * 2 >= (one.iters_per_epoch or 1)]
    needed = price(long, interval, 1) if interval else None
    if not limit_min or needed is None or (needed_min := needed.seconds / 60) <= limit_min:
        return None
    every = "every epoch" if interval == 1 else f"every {interval} epochs"
    return (
        f"a checkpoint is saved {every}, which takes {needed_min:.0f} min as measured, but runtime_min"
        f" is {limit_min}: no job would save a checkpoint; set runtime_min of the stage's resources to more"
    )


def _price(facts: state.Facts, action: Action) -> Price | None:
    """What would still be spent on a stage that is to be trained."""
    settings = facts.at.settings
    if action not in COSTS:
        return None
    done = 0 if action in ("train", "retrain") else facts.epochs_done
    ranks = facts.at.trainer_settings.nproc_per_node * settings.resources.nodes
    return price(facts.attempts, max(0, settings.epochs - done), ranks)


def _legs(facts: state.Facts, action: Action, cost: Price | None) -> int:
    asked = facts.at.settings.resources
    trains = action not in ("nothing", "refuse")  # once what trains it now has ended, too
    return legs(cost, asked.runtime_min) if trains and asked.legs == "array" else 1


def _refusals(facts: state.Facts, action: Action, fresh: bool, problems: list[str]) -> list[str]:
    """Why nothing may be submitted although something would be trained."""
    twin = trained_before(facts) if action == "retrain" or fresh else None
    kept = (not_archived(facts) or guard(facts)) if action == "retrain" else None
    return problems or [why for why in (twin or kept,) if why]


def trained_before(facts: state.Facts) -> str | None:
    """Where exactly this training is archived, and how to restore it; None: nowhere."""
    twin = state.archived_twin(facts)
    if twin is None or retrain_accepted(facts):
        return None
    name = facts.name
    return (
        f"{twin.folder} holds exactly this training; to restore it, run: trainrelay restore {name}"
        f" {twin.number}; to"
        f' train it again, run: trainrelay accept {name} --retrain --reason "..."'
    )


def _action(judged: state.State, facts: state.Facts, training_parent: str | None) -> tuple[Action, str]:
    kept = judged.kind in ("complete", "resumable", "stopped") and not state.never_trained(facts)
    if kept and training_parent:
        return "retrain", f"{training_parent} trains first, so this stage's initial checkpoint changes"
    actions: Mapping[state.StateKind, Action] = {
        "fresh": "train",
        "changed": "retrain",
        "complete": "nothing",
        "running": "wait",
        "foreign": "refuse",
        "refused": "refuse",
    }
    if judged.kind in actions:
        return actions[judged.kind], judged.reason
    if not facts.checkpoints:
        return "train", f"{judged.reason}; there is no checkpoint to resume from"
    if facts.attempts and facts.attempts[-1].end == "done" and epochs_trained(facts.attempts) < facts.epochs:
        return "extend", judged.reason + _stretched(facts)
    return "resume", judged.reason


def _stretched(facts: state.Facts) -> str:
    """A warning where more epochs change the learning rate of those already trained."""
    schedule = facts.at.trainer.schedule_over_all_epochs(facts.at.trainer_config)
    if schedule is None:
        return ""
    return f"; warning: {schedule} spans all epochs, so the learning rate jumps up where training continues"


def _doing(action: Action, facts: state.Facts, archive: Path | None) -> str:
    words: Mapping[Action, str] = {
        "nothing": "trains nothing (complete)",
        "train": f"trains {facts.epochs} epochs",
        "resume": (
            f"resumes after epoch {facts.epochs_done} of {facts.epochs}"
            if facts.epochs_done < facts.epochs
            else f"verifies the checkpoint of epoch {facts.epochs}; trains nothing if it is valid"
        ),
        "extend": f"continues from epoch {facts.epochs_done} to {facts.epochs}",
        "retrain": f"trains {facts.epochs} epochs from scratch; the old training is archived in {archive}",
        "wait": "trains nothing: it is being trained now",
        "refuse": "refused",
    }
    return words[action]


def guard(facts: state.Facts) -> str | None:
    """Why a training may not be archived without your override; None: it may."""
    if facts.gpu_h <= facts.at.config.retrain_guard_gpu_h or retrain_accepted(facts):
        return None
    return (
        f"training from scratch would archive {facts.gpu_h:.1f} GPU-hours "
        f"(retrain_guard_gpu_h: {facts.at.config.retrain_guard_gpu_h:g}); "
        f'to do so, run: trainrelay accept {facts.name} --retrain --reason "..."'
    )


def retrain_accepted(facts: state.Facts) -> bool:
    """Whether you accepted that this very change archives the old training."""
    return facts.may_retrain is not None and facts.may_retrain.subject in facts.signatures


def _devices(at: StageContext) -> str:
    resources, ranks = at.settings.resources, at.trainer_settings.nproc_per_node
    nodes = f" on each of {resources.nodes} nodes" if resources.nodes > 1 else ""
    if resources.gpu:
        return f"{resources.gpu} x {resources.gpu_model or 'GPU'}{nodes}"
    return f"{ranks} CPU processes{nodes}"


def initial_checkpoint(at: StageContext) -> str | None:
    """What a stage starts from, as the trainer reads it: the promotion target, else the saved file."""
    parent = at.parent
    if parent is None:
        return None
    if parent.settings.promotion is not None:
        return parent.settings.promotion.target
    if promoted := state.promoted_file(at):
        return promoted.path
    work_dir = state.work_dirs(parent.paths).current
    return str(at.trainer.checkpoint_path(work_dir, parent.settings.checkpoint_epoch))


def initial_path(at: StageContext) -> Path | None:
    """The file that the trainer will start from: the earlier stage's, else the trainer config's own."""
    said = initial_checkpoint(at)
    if said is None:
        said = at.trainer.config_initial_checkpoint(at.trainer_config)
    # "torchvision://resnet50" and the like name no file.
    return at.root / said if said and "://" not in said else None


def _request(facts: state.Facts, action: Action) -> LaunchRequest:
    """The start of what would be done; of a finished stage, the one that trains it from the beginning."""
    request = launch_request(facts.at, facts.at.trainer_config, initial_checkpoint(facts.at))
    if action in ("resume", "extend"):
        return replace(request, resume_from=str(facts.checkpoints[0][1]))
    return request
