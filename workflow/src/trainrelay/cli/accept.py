"""`trainrelay accept`: a person's word, bound to one checkpoint or one change."""

from __future__ import annotations

import argparse
import time

from trainrelay import checkpoint, state
from trainrelay.cli.common import configured, named_stage
from trainrelay.cli.promote import refused
from trainrelay.cli.train_record import final_checkpoint
from trainrelay.config import Config
from trainrelay.errors import UserError
from trainrelay.files import write_json
from trainrelay.records import Acceptance, CheckpointFacts
from trainrelay.signature import signature


def run(arguments: argparse.Namespace) -> None:
    """Write accepted.json and say what it now allows."""
    config = configured(arguments)
    facts = state.read(config, *named_stage(config, arguments.where))
    if not arguments.reason.strip():
        raise UserError('give a reason: trainrelay accept RUN/STAGE --reason "..."')
    if arguments.retrain:
        allows = _retrain(facts, arguments.reason)
    else:
        allows = _gate(config, facts, arguments.reason)
    print(f"{facts.run}/{facts.stage}: {allows}. Now type the snakemake command again.")


def _retrain(facts: state.Facts, reason: str) -> str:
    if facts.identity is None and state.twin_aside(facts) is None:
        raise UserError(f"{facts.run}/{facts.stage}: nothing is trained, so nothing would be set aside")
    subject = signature(facts.ingredients, facts.epochs)
    given = Acceptance(kind="retrain", subject=subject, reason=reason, at_s=time.time())
    facts.paths.folder.mkdir(parents=True, exist_ok=True)
    write_json(facts.paths.accepted, given)
    return f"{facts.gpu_h:.1f} GPU-hours may be set aside (they are kept)"


def _gate(config: Config, facts: state.Facts, reason: str) -> str:
    found = _checkpoint(config, facts)
    blocked = facts.train is None or state.not_as_recorded(facts, found) or refused(config, facts)
    if not blocked:
        raise UserError(f"{facts.run}/{facts.stage}: nothing is blocked, so there is nothing to accept")
    given = Acceptance(
        kind="gate",
        subject=found.file.sha256,
        reason=reason,
        at_s=time.time(),
        checkpoint=found,
        epochs=facts.epochs,
    )
    write_json(facts.paths.accepted, given)
    return f"{found.file.path} (epoch {found.epoch}) is handed on as it is"


def _checkpoint(config: Config, facts: state.Facts) -> CheckpointFacts:
    """What would be handed on: the finished training's checkpoint, else the newest sound one."""
    if facts.alive:
        raise UserError(f"{facts.run}/{facts.stage}: it is being trained now; stop it first")
    if facts.train is not None or state.judge(facts).kind == "complete":
        return final_checkpoint(config, facts)
    found, skipped = checkpoint.newest_sound(facts.checkpoints, facts.work_dirs.epoch_base)
    if found is None:
        raise UserError("; ".join([f"{facts.run}/{facts.stage}: there is no sound checkpoint", *skipped]))
    return found
