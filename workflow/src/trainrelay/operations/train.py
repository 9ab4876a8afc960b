"""`trainrelay train`: one stage, from whatever state it is in, to train.json."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from rich.console import Console

from trainrelay import supervise
from trainrelay.config import load_site
from trainrelay.errors import NoProgress, Refusal, UserError
from trainrelay.operations.end_error import end_error
from trainrelay.operations.follow import follow
from trainrelay.operations.held_lease import held_lease
from trainrelay.operations.live_report import reported
from trainrelay.operations.promote import refuse_foreign_target, refuse_other_training, report_unfinished
from trainrelay.operations.train_record import write_train_record
from trainrelay.preflight.node import too_few_cores, too_few_files, too_few_gpus
from trainrelay.records import FORMAT, AttemptRecord, FileDigest, Identity, Takeover
from trainrelay.slurm import own_run
from trainrelay.supervise import InitialCheckpoint, Lease, LivingOwner, StageJob, StepSaving
from trainrelay.system.alive import sees_itself
from trainrelay.system.files import make_folder, sha256_of, write_bytes, write_json
from trainrelay.system.hints import made_again
from trainrelay.system.say import say
from trainrelay.text import hidden
from trainrelay.trainers import LaunchRequest
from trainrelay.training import archiving, bad_nodes, plan, retention, state
from trainrelay.training.code_version import CodeVersion, NotKnown, code_version
from trainrelay.training.context import StageContext
from trainrelay.training.notify import tell
from trainrelay.training.owners import claim
from trainrelay.training.request import cores, initial_path, ladder, launch_request, missing, unsupported
from trainrelay.training.signature import EXACT
from trainrelay.training.submitted import CODE, changed_since, ingredients_submitted
from trainrelay.training.work_dirs import WorkDirs

_STOP_GRACE_S = 30.0  # as long as Slurm's default KillWait
TRAINING_VARIABLE = "TRAINRELAY_TRAINING"  # the same for every attempt of a training, for a logger's run id


def train_stage(at: StageContext) -> None:
    """Bring one stage to its last epoch, or raise what you need to know."""
    if why := too_few_files():
        raise UserError(f"{at.name}: {why}")
    while facts := _unfinished(at):
        try:
            return _train_alone(facts)
        except LivingOwner as held:
            # Nobody waits with GPUs allocated, nor for an owner that is suspended.
            if held.fate == "stopped" or own_run(os.environ).job_id:
                raise
            follow(at, held.owner)
    return None


def _train_alone(facts: state.Facts) -> None:
    """As the one supervisor of the stage; LivingOwner if another is."""
    _refuse_unstartable(facts)
    search = partial(supervise.refuse_beside_living, facts.paths.folder, facts.name)
    with held_lease(facts.at, before_claim=search) as lease:
        _take_over(state.read(facts.at), lease)
        # Another supervisor may have trained while we waited for the lease.
        if now := _unfinished(facts.at):
            _refuse_this_machine(now)
            prepared = _prepare(now, state.judge(now), lease)
            attempt = _supervise(prepared, lease)
            lease.guard()
            _conclude(prepared, attempt)


def _supervise(facts: state.Facts, lease: Lease) -> AttemptRecord:
    try:
        with reported(facts.at):
            return supervise.train(stage_job(facts), Console(stderr=True), lease)
    except (NoProgress, UserError):  # no rung works, no checkpoint is valid, ...: it needs your decision
        lease.guard()
        report_unfinished(facts.at)
        raise


def _unfinished(at: StageContext) -> state.Facts | None:
    """What is on disk if there is something to train; train.json of a complete one is written again."""
    facts = state.read(at)
    if changes := changed_since(facts.at):
        raise Refusal(
            f"{at.name}: the trainer's config or checkout has changed since this was submitted, so nothing is"
            f" trained ({'; '.join(map(str, changes))}); revert that, or run snakemake again to train what is"
            " there now"
        )
    judged = state.judge(facts)
    if judged.kind in state.REFUSED:
        raise Refusal(f"{at.name}: {judged.reason}")
    if judged.kind != "complete":
        return facts
    say(f"{at.name}: {judged.reason}; trains nothing")
    _complete(facts)
    return None


def _complete(facts: state.Facts) -> None:
    """train.json, unless something lives that may still write what it names."""
    supervise.refuse_beside_living(facts.paths.folder, facts.name)
    write_train_record(facts)


def _refuse_unstartable(facts: state.Facts) -> None:
    """UserError where something is missing without which the trainer need not be started."""
    at, request = facts.at, _request(facts)
    needed = missing(request, initial_path(at), at.parent)
    problems = [*needed, *at.trainer.start_problems(request, certain=True), *unsupported(at, request)]
    if nodes := supervise.nodes_missing(request.nodes, os.environ):
        problems.append(nodes)
    if problems:
        raise UserError(f"{facts.name}: " + "; ".join(problems))
    refuse_foreign_target(facts)


def _refuse_this_machine(facts: state.Facts) -> None:
    """UserError where the ranks could not run here; a sentence where they would be slow."""
    if not sees_itself():
        raise UserError(
            f"{facts.name}: /proc is that of another pid namespace, so that processes cannot be"
            " followed; mount that of this one (unshare: --mount-proc; in a container: no -v /proc:/proc)"
        )
    request = _request(facts)
    environment = {**os.environ, **request.env}
    if request.device == "cuda" and (why := too_few_gpus(request.nproc_per_node, environment)):
        raise UserError(f"{facts.name}: {why}")
    if own_run(os.environ).job_id and (remark := too_few_cores(cores(facts.at))):
        say(f"{facts.name}: {remark}")


def _take_over(facts: state.Facts, lease: Lease) -> None:
    """What an owner before us left open is closed; one that may still live keeps its work dir for itself."""
    lease.guard()
    supervise.close_attempts_elsewhere(facts.paths.folder, say)
    if lease.taken_from is not None:
        if facts.identity is not None:
            mine = Takeover(token=lease.token, **{f"after_{facts.unit}": facts.done})
            takeovers = (*facts.identity.takeovers, mine)
            write_json(facts.paths.identity, facts.identity.model_copy(update={"takeovers": takeovers}))
        lease.begin()


def _prepare(facts: state.Facts, judged: state.State, lease: Lease) -> state.Facts:
    """The identity on disk, an old training of another identity archived."""
    digest = initial_digest(facts)
    takeovers = _takeovers(facts, lease)
    lease.guard()
    other = judged.kind == "changed" or starts_from_another(facts, digest)
    if other and not state.never_trained(facts):
        facts = _archive(facts)
        # The folders have moved, so nothing of the old training is there to be read.
        takeovers = tuple(
            one.model_copy(update={"after_epoch": 0, "after_iteration": 0}) for one in takeovers
        )
    elif judged.kind == "fresh" and (refusal := plan.trained_before(facts)):
        raise Refusal(f"{facts.name}: {refusal}")
    else:
        _refuse_other_checkpoint(facts)
    kept = facts.work_dirs.kept
    if facts.identity is None and kept and kept.is_dir():  # of a training of which nothing else is left
        kept.rename(kept.with_name(f"{kept.name}.old-{secrets.token_hex(4)}"))
    make_folder(facts.paths.folder)
    identity = Identity(
        format=FORMAT,
        run=facts.at.run,
        stage=facts.at.stage,
        ingredients=facts.ingredients,
        initial_checkpoint=digest,
        work_dir=str(facts.paths.work_dir),
        takeovers=takeovers,
        owner=(facts.identity and facts.identity.owner) or secrets.token_hex(16),
    )
    write_json(facts.paths.identity, identity)
    _check_code(facts)
    return _claim_work_dirs(facts, identity)


def _claim_work_dirs(facts: state.Facts, identity: Identity) -> state.Facts:
    """The work dirs made known as those of this training; Refusal where another was first."""
    dirs = WorkDirs(facts.paths.work_dir, identity.takeovers)
    for folder in dirs.all:
        if folder == dirs.current or folder.is_dir():
            claim(folder, identity.owner or "", facts.paths.folder)
    facts = state.read(facts.at)
    if facts.not_ours:
        raise Refusal(f"{facts.name}: {facts.not_ours}")
    return facts


def _refuse_other_checkpoint(facts: state.Facts) -> None:
    """Refusal where the training would resume from a checkpoint that is not the one that was recorded."""
    if any(attempt.final_checkpoint for attempt in facts.attempts):
        newest, _ = facts.work_dirs.newest_valid(facts.at.trainer)
        if newest and (refusal := state.not_as_recorded(facts, newest)):
            raise Refusal(refusal)


def _takeovers(facts: state.Facts, lease: Lease) -> tuple[Takeover, ...]:
    """Those of the training on disk; of a first one, ours where another supervisor may still begin it."""
    if facts.identity is not None:
        return facts.identity.takeovers
    return (Takeover(token=lease.token, after_epoch=0),) if lease.taken_from else ()


def _request(facts: state.Facts) -> LaunchRequest:
    request = launch_request(facts.at)
    # As the config spells it, unless a takeover began another one.
    own = facts.work_dirs.current if facts.work_dirs.takeovers else None
    named = {TRAINING_VARIABLE: facts.identity.owner} if facts.identity and facts.identity.owner else {}
    return replace(request, work_dir=str(own) if own else request.work_dir, env={**named, **request.env})


def initial_digest(facts: state.Facts) -> FileDigest | None:
    """What the training starts from, by content; it must be what the earlier stage promoted."""
    if (initial := initial_path(facts.at)) is None:
        return None
    digest, parent = sha256_of(initial), facts.at.parent
    if parent:
        refuse_other_training(state.read(parent))
    if parent and facts.parent and facts.parent.sha256 != digest.sha256:
        raise UserError(
            f"{facts.name}: {initial} is not what {parent.stage} promoted (sha256 "
            f"{digest.sha256[:12]}, expected {facts.parent.sha256[:12]}); "
            f"run: {made_again(parent.paths.checkpoint)}"
        )
    return digest


def starts_from_another(facts: state.Facts, digest: FileDigest | None) -> bool:
    """Whether the training on disk started from another checkpoint than this one."""
    old = facts.identity.initial_checkpoint if facts.identity else None
    return old is not None and digest is not None and old.sha256 != digest.sha256


def _archive(facts: state.Facts) -> state.Facts:
    """The old training moves as it is."""
    if refusal := plan.trained_before(facts) or plan.guard(facts):
        raise Refusal(f"{facts.name}: {refusal}")
    moves = archiving.moves_away(facts)
    # What a dead supervisor left running would continue to write to the place that becomes free.
    supervise.close_open_attempts(stage_job(facts), say)
    archiving.carry_out(moves)
    say(f"{facts.name}: the training's identity has changed; the old training is archived in {moves[0][1]}")
    return state.read(facts.at)


def _check_code(facts: state.Facts) -> None:
    """The code should be the one that began the training, else the submitted one; its changes are kept."""
    now, refuse = code_version(facts.at.root), facts.at.config.on_code_change == "refuse"
    trained = facts.attempts and not state.never_trained(facts)
    before = facts.attempts[-1].code if trained else ingredients_submitted(facts.at).get(CODE)
    if before not in (None, now.name):
        what = f"{facts.name}: the trainer's code was {before}, is {now.name}"
        if refuse:
            raise Refusal(f"{what}; check out the old code, or set on_code_change: warn in the config")
        say(f"warning: {what}")
    elif isinstance(now, NotKnown) and (refuse or now.failed):
        what = f"{facts.name}: the trainer's code is {now.name}"
        if refuse and now.failed:
            raise Refusal(f"{what}; fix that, or set on_code_change: warn in the config")
        say(f"warning: {what}, so no change of it can be refused or reported")
    if isinstance(now, CodeVersion) and now.changes:
        # config.yaml may be part of the checkout.
        said = hidden(now.changes.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        write_bytes(facts.paths.folder / f"code-{now.digest}.diff", said)


def stage_job(facts: state.Facts) -> StageJob:
    """What the supervisor of a stage is asked to do."""
    settings, trainer = facts.at.settings, facts.at.trainer
    request, now, initial = _request(facts), code_version(facts.at.root), initial_path(facts.at)
    initial = initial if initial and not initial.is_dir() else None  # of a folder its files are loaded
    return StageJob(
        run=facts.at.run,
        stage=facts.at.stage,
        stage_dir=facts.paths.folder,
        work_dirs=facts.work_dirs,
        supervision=facts.paths.supervision,
        asked=settings.asked,
        world_size=request.nproc_per_node * request.nodes,
        ladder=ladder(facts.at),
        hang_timeout_s=settings.hang_timeout_s,
        hook=settings.hook,
        steps=_step_saving(facts),
        initial=InitialCheckpoint(str(initial.absolute()), settings.init_match_min) if initial else None,
        probe=settings.probe,
        probe_timeout_s=settings.probe_timeout_s,
        trainer=trainer,
        learns_base=trainer.epoch_bases is None and facts.at.trainer_settings.epoch_base is None,
        request=request,
        port=settings.master_port,
        stop_grace_s=_STOP_GRACE_S,
        warn_s=load_site().warn_s,
        log_name=settings.log,
        code=now.name if isinstance(now, CodeVersion) else None,
        signature=facts.signature,
        leave_bad_nodes=partial(bad_nodes.leave, facts.at),
        tell=partial(tell, facts.at),
        retain=partial(_retain, facts.at) if settings.keep else None,
    )


def _retain(at: StageContext, guard: Callable[[], object], note: Callable[[str], None]) -> None:
    """Removes the checkpoints that `keep` lets go; whatever is wrong, the training continues."""
    try:
        facts, ranked = state.read(at), list[int]()
        if at.settings.choice.best and len(facts.checkpoints) > 1:
            from trainrelay.operations.best import ranking  # noqa: PLC0415 - it imports the analysis

            try:
                ranked = [one.done for one in ranking(facts)]
            except Refusal:  # nothing is evaluated yet; promotion says so, if that stays
                return
        if said := retention.retain(facts, ranked, guard):
            note(said)
    except (OSError, UserError) as error:
        note(f"warning: keep removed nothing more: {str(error).partition(';')[0]}")


def _step_saving(facts: state.Facts) -> StepSaving | None:
    asked = facts.at.settings
    if not facts.at.saves_steps:
        return None
    exact = EXACT in facts.ingredients
    if asked.exact and not exact:
        say(f"{facts.name}: exact: this training began without it, and continues without it")
    return StepSaving(asked.checkpoint_interval_min * 60, asked.keep_steps, asked.save_failures_max, exact)


def _conclude(before: state.Facts, attempt: AttemptRecord) -> None:
    """train.json for a complete training; for one that ended for good the analysis and the report.

    Not for one that was asked to stop: Slurm may give it seconds to be requeued, and a log may take minutes.
    """
    facts, decision = state.read(before.at), attempt.decision
    if decision and decision.step == "done":
        _complete(facts)
        return
    if not (decision and decision.step == "stop"):
        report_unfinished(facts.at)
    raise end_error(facts, attempt)
