"""`trainrelay accept`: a person's word, bound to one checkpoint, one change or one attempt."""

from __future__ import annotations

import argparse
import time

from trainrelay import checkpoint, state
from trainrelay.cli.common import configured, named_stage
from trainrelay.config import Config
from trainrelay.errors import UserError
from trainrelay.files import write_json
from trainrelay.records import Acceptance, CheckpointFacts
from trainrelay.signature import signature, trainer_of


def run(arguments: argparse.Namespace) -> None:
    """Write accepted.json and say what it now allows."""
    config = configured(arguments)
    facts = state.read(config, *named_stage(config, arguments.where))
    if not arguments.reason.strip():
        raise UserError('give a reason: trainrelay accept RUN/STAGE --reason "..."')
    if arguments.retrain:
        given, allows = _retrain(facts, arguments.reason)
    elif arguments.lost_attempt:
        given, allows = _lost(facts, arguments.reason)
    else:
        given, allows = _gate(config, facts, arguments.reason)
    write_json(facts.paths.accepted, given)
    print(f"{facts.run}/{facts.stage}: {allows}. Now type the snakemake command again.")


def _retrain(facts: state.Facts, reason: str) -> tuple[Acceptance, str]:
    if state.judge(facts).kind != "changed":
        raise UserError(f"{facts.run}/{facts.stage}: nothing has changed, so nothing would be set aside")
    subject = signature(facts.ingredients, facts.epochs)
    given = Acceptance(kind="retrain", subject=subject, reason=reason, at_s=time.time())
    return given, f"{facts.gpu_h:.1f} GPU-hours may be set aside (they are kept)"


def _lost(facts: state.Facts, reason: str) -> tuple[Acceptance, str]:
    if not facts.attempts or facts.attempts[-1].end is not None:
        raise UserError(f"{facts.run}/{facts.stage}: no attempt is open")
    attempt = facts.attempts[-1]
    given = Acceptance(kind="lost-attempt", subject=attempt.tag, reason=reason, at_s=time.time())
    return given, f"attempt {attempt.number} on {attempt.host} counts as lost"


def _gate(config: Config, facts: state.Facts, reason: str) -> tuple[Acceptance, str]:
    found = _checkpoint(config, facts)
    given = Acceptance(
        kind="gate", subject=found.file.sha256, reason=reason, at_s=time.time(), checkpoint=found
    )
    return given, f"{found.file.path} (epoch {found.epoch}) is handed on as it is"


def _checkpoint(config: Config, facts: state.Facts) -> CheckpointFacts:
    """What would be handed on: the finished training's checkpoint, else the newest sound one."""
    if facts.alive:
        raise UserError(f"{facts.run}/{facts.stage}: it is being trained now; stop it first")
    if facts.train is not None:
        return facts.train.final_checkpoint
    found, skipped = checkpoint.newest_sound(trainer_of(config, facts.run).checkpoints(facts.paths.work_dir))
    if found is None:
        raise UserError("; ".join([f"{facts.run}/{facts.stage}: there is no sound checkpoint", *skipped]))
    return found
