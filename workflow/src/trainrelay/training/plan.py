"""What would happen to each stage, and why: `trainrelay plan` and the rules print these values."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from trainrelay.config import Config, load_site
from trainrelay.slurm import Request, sbatch_flags
from trainrelay.slurm.flags import request_of
from trainrelay.system.files import one_reading, read_once, size_of
from trainrelay.text import masked
from trainrelay.trainers import Launch, LaunchRequest, not_understood, prefixed, torch_release, whole_load
from trainrelay.training import retention, state
from trainrelay.training.archiving import next_archive, not_archived
from trainrelay.training.bad_nodes import to_exclude
from trainrelay.training.code_version import CodeVersion, code_version
from trainrelay.training.context import StageContext
from trainrelay.training.cost import Price, iterations_trained, legs, price
from trainrelay.training.finished import trained_to
from trainrelay.training.request import cores, initial_path, launch_request, missing, unsupported
from trainrelay.training.signature import EXACT, Difference
from trainrelay.training.step_checkpoints import Continued, StepCheckpoint, to_resume_from

Action = Literal["nothing", "train", "resume", "extend", "retrain", "wait", "refuse"]
TRAINS: frozenset[Action] = frozenset({"train", "resume", "extend", "retrain"})
BEGINS = TRAINS - {"resume"}
COSTS = TRAINS | {"wait"}  # GPU-hours are still to be spent


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage: its state, what would be done, the reason, and the exact command."""

    at: StageContext
    state: state.StateKind
    action: Action
    reason: str
    doing: str  # what would be done, in words
    differences: tuple[Difference, ...]
    launch: Launch
    slurm: Request  # what its job asks for
    archived_to: Path | None = None
    gpu_h: float = 0.0  # so far
    price: Price | None = None  # of what is to be trained, or trains; None: nothing was measured yet
    notes: tuple[str, ...] = ()  # what a start would not find on this machine; the room that our copy takes
    ingredients: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()  # why nothing may be submitted although something would be trained
    too_short: str | None = None  # why no job within its time limit would save a checkpoint

    @property
    def trains(self) -> bool:
        """Whether the trainer would be started."""
        return self.action in TRAINS

    @property
    def sbatch(self) -> tuple[str, ...]:
        """What its job is submitted with."""
        return sbatch_flags(self.slurm)

    @property
    def gpu_h_left(self) -> float | None:
        """GPU-hours still to be spent (process-hours on cpu); None where nothing was measured yet."""
        if self.action not in COSTS:
            return 0.0
        return self.price.gpu_h if self.price else None

    def asks(self, runtime_min: int | None = None) -> str:
        """GPUs, minutes, epochs, config and ladder in one line."""
        asked = self.at.settings
        minutes = runtime_min or asked.resources.runtime_min
        time_limit = f"{minutes} min" if minutes else "no runtime_min"
        promotes = f", promotes the {asked.best}" if asked.best else ""
        length = f"{asked.asked} {asked.unit}s{promotes}"
        with_what = f"{length}, config {asked.config}, backends {' > '.join(asked.backends)}"
        return f"{_devices(self.at)}, {time_limit}, {with_what}"

    @property
    def why(self) -> list[str]:
        """The reason, refusals and differences."""
        return [self.reason, *self.refused, *map(str, self.differences)]

    def message(self, runtime_min: int | None = None) -> str:
        """What a dry run prints of the stage."""
        why = [f"{self.at.name}: {self.doing}", f"{self.state}: {self.why[0]}", *self.why[1:]]
        return "\n  ".join([*why, self.asks(runtime_min), *(f"note: {note}" for note in self.notes)])


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
    judged = state.judge(facts)
    waits = judged.kind in ("resumable", "stopped")
    step, passed = resume_step(facts) if waits else (None, [])
    action, reason = _action(judged, facts, training_parent, step)
    archived_to = next_archive(facts) if action == "retrain" else None
    # Of a finished stage, the start that trains it from the beginning.
    resumed = str(facts.checkpoints[0][1]) if action in ("resume", "extend") and facts.checkpoints else None
    request = launch_request(at, parent_trains=bool(training_parent))
    request = replace(request, resume_from=resumed)
    fresh, problems = judged.kind == "fresh", unsupported(at, request)
    refused = _refusals(facts, action, fresh, problems) if action in TRAINS else []
    action = "refuse" if refused else action
    too_short = _too_short(facts) if action in TRAINS else None
    cost = _price(facts, action, step)
    site = read_once(load_site)
    launch = prefixed(at.trainer.launch(request, {}), request)
    excluded, bad = to_exclude(at, site) if action in TRAINS else ((), ())
    asked = at.settings.resources
    # Triggered again, a complete one does not queue for GPUs.
    asked = asked.model_copy(update={"gpu": 0}) if judged.kind == "complete" else asked
    return StagePlan(
        at=replace(at),  # without what it has read: a plan of many stages is kept
        state=judged.kind,
        action=action,
        reason=reason,
        doing=_doing(action, facts, archived_to, step),
        differences=judged.differences,
        launch=replace(launch, env=masked(launch.env)),
        archived_to=archived_to,
        gpu_h=facts.gpu_h,
        price=cost,
        slurm=request_of(asked, site.without(excluded), cores(at), _legs(facts, action, cost)),
        notes=(*_notes(facts, request, training_parent, action), *(passed if action in TRAINS else ()), *bad),
        ingredients=facts.ingredients,
        refused=tuple(refused),
        too_short=too_short,
    )


def _notes(facts: state.Facts, request: LaunchRequest, parent: str | None, action: Action) -> Iterator[str]:
    settings = facts.at.settings
    yield from filter(None, [retention.explained(facts)])
    if facts.attempts and not (facts.promoted or facts.alive):
        for path, why in not_understood((path for _, path in facts.checkpoints[:1]), facts.at.trainer.glance):
            yield f"{path} {why}; it is neither resumed from nor promoted"
    if action in ("train", "resume", "extend", "wait"):
        yield from retention.outlook(facts)
    if action not in TRAINS:
        return
    # What an earlier stage is still to promote is not missing.
    there = settings.init_from is None or (facts.parent and not parent)
    initial = initial_path(facts.at) if there else None
    a_file = initial_path(facts.at) and not (facts.at.parent and facts.at.parent.trainer.saves_folders)
    if settings.init_match_min is not None and not a_file:
        yield "init_match_min compares nothing: no init_from or load_from names a checkpoint file"
    needed, begun = missing(request, initial, facts.at.parent), facts.at.trainer.start_problems
    yield from (f"refused if started here: {why}" for why in (*needed, *begun(request, certain=True)))
    yield from begun(request, certain=False)
    if request.device == "cpu" and settings.resources.gpu:
        yield f"it asks for {settings.resources.gpu} GPUs and trains on the CPU (device: cpu)"
    declared, rung = request.trainer_config.switches, request.rung.backend
    # With more ranks it is refused; on the CPU one rank talks to nobody.
    if declared and "dist_backend" not in declared and rung != "nccl" and request.device != "cpu":
        yield f"{request.config} declares no --dist_backend: its one rank uses what it names, not {rung}"
    known = request.trainer_config.problem is None
    unknown = save_interval(facts) is None and not facts.at.saves_steps
    if known and settings.resources.runtime_min and unknown:
        yield "how often it saves a checkpoint is unknown, so runtime_min may be too short for one"
    for last in facts.attempts[-1:] if settings.hook else ():
        yield from (f"attempt {last.number}: {why}" for why in last.hook_problems)
    yield from retention.best_may_go(facts.at)
    if settings.exact and EXACT not in facts.ingredients:
        yield "exact: this training began without it, and continues without it"
    for path in (path for _, path in facts.checkpoints if facts.work_dirs.kept in path.parents):
        yield f"keeps a copy of {path.name}, which the trainer overwrites: {size_of(path) / 1e9:.2g} GB"
    release = torch_release(request.interpreter, request.prefix)
    yield from filter(None, [whole_load(request, release), _too_short(facts)])


def resume_step(facts: state.Facts) -> tuple[StepCheckpoint | None, list[str]]:
    """The step checkpoint that a start would resume from, its content taken on trust; and why not others."""
    if facts.step is None:
        return None, []
    settings, code = facts.at.settings, read_once(code_version, facts.at.root)
    ranks = facts.at.trainer_settings.nproc_per_node * settings.resources.nodes
    exact, now = EXACT in facts.ingredients, code.name if isinstance(code, CodeVersion) else None
    continued = Continued(facts.attempts, ranks, exact, now, settings.hook)
    return to_resume_from(facts.steps, (facts.done, 0), continued)


def resumes(facts: state.Facts) -> str | None:
    """Where a start would resume, in words; None: it starts from scratch."""
    if step := resume_step(facts)[0]:
        return str(step.point)
    return f"after {facts.unit} {facts.reached}" if facts.checkpoints else None


def save_interval(facts: state.Facts) -> int | None:
    """Epochs (iterations) from one checkpoint of the trainer to the next; None: that is unknown."""
    return facts.at.trainer.checkpoint_interval(facts.at.trainer_config, facts.at.settings.options)


def _too_short(facts: state.Facts) -> str | None:
    """Each job would train for nothing, one after the other: known before anything is submitted."""
    limit_min, interval = facts.at.settings.resources.runtime_min, save_interval(facts)
    # A few lines tell a price, but not that nothing may be submitted.
    iters = interval if facts.unit == "iteration" else None
    lengths = ((one, iters or one.iters_per_epoch or 1) for one in facts.attempts)
    long = [one for one, length in lengths if iterations_trained(one) * 2 >= length]
    needed = price(long, 1 if iters else interval, 1, iters=iters) if interval else None
    saves_steps = facts.at.saves_steps and not any(one.hook or one.unsaved for one in facts.attempts[-1:])
    if saves_steps or not limit_min or needed is None or (needed_min := needed.seconds / 60) <= limit_min:
        return None
    every = f"every {facts.unit}" if interval == 1 else f"every {interval} {facts.unit}s"
    return (
        f"a checkpoint is saved {every}, which takes {needed_min:.0f} min as measured, but runtime_min"
        f" is {limit_min}: no job would save a checkpoint; set runtime_min of the stage's resources to more"
    )


def _price(facts: state.Facts, action: Action, step: StepCheckpoint | None) -> Price | None:
    """What would still be spent on a stage that is to be trained."""
    settings = facts.at.settings
    if action not in COSTS:
        return None
    done = (0, 0) if action in ("train", "retrain") else step.reached if step else (facts.done, 0)
    ranks = facts.at.trainer_settings.nproc_per_node * settings.resources.nodes
    if facts.unit == "iteration":
        return price(facts.attempts, 1, ranks, min(done[0], facts.asked), facts.asked)
    return price(facts.attempts, max(0, facts.asked - done[0]), ranks, done[1])


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


def _action(
    judged: state.State, facts: state.Facts, training_parent: str | None, step: StepCheckpoint | None
) -> tuple[Action, str]:
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
    if not (facts.checkpoints or step):
        why = "" if judged.kind == "stopped" else "; there is no checkpoint to resume from"
        return "train", f"{judged.reason}{why}"
    if facts.attempts and facts.attempts[-1].end == "done" and trained_to(facts.attempts) < facts.asked:
        return "extend", judged.reason + _stretched(facts)
    return "resume", judged.reason


def _stretched(facts: state.Facts) -> str:
    """A warning where more epochs change the learning rate of those already trained."""
    schedule = facts.at.trainer.schedule_over_all_epochs(facts.at.trainer_config)
    if schedule is None:
        return ""
    return (
        f"; warning: {schedule} spans all {facts.unit}s, so the learning rate jumps where training continues"
    )


def _doing(action: Action, facts: state.Facts, archive: Path | None, step: StepCheckpoint | None) -> str:
    if step and action == "resume":
        return f"resumes {step.point} of {facts.asked} {facts.unit}s"
    unit = facts.unit
    words: Mapping[Action, str] = {
        "nothing": "trains nothing (complete)",
        "train": f"trains {facts.asked} {unit}s",
        "resume": (
            f"resumes after {unit} {facts.reached} of {facts.asked}"
            if facts.done < facts.asked
            else f"verifies the checkpoint of {unit} {facts.asked}; trains nothing if it is valid"
        ),
        "extend": f"continues from {unit} {facts.done} to {facts.asked}",
        "retrain": f"trains {facts.asked} {unit}s from scratch; the old training is archived in {archive}",
        "wait": "; ".join(
            ["trains nothing: it is being trained now", *filter(None, [facts.at_risk(time.time())])]
        ),
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
    return facts.may_retrain is not None and facts.may_retrain.subject == facts.signature


def _devices(at: StageContext) -> str:
    resources, ranks = at.settings.resources, at.trainer_settings.nproc_per_node
    nodes = f" on each of {resources.nodes} nodes" if resources.nodes > 1 else ""
    if resources.gpu:
        return f"{resources.gpu} x {resources.gpu_model or 'GPU'}{nodes}"
    return f"{ranks} CPU process{'' if ranks == 1 else 'es'}{nodes}"
