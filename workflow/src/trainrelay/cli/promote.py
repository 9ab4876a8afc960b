"""`trainrelay promote`: judge the training, verify its checkpoint, hand it on."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainrelay import checkpoint, state
from trainrelay.cli.analyze import judge_stage
from trainrelay.cli.common import configured, named_stage
from trainrelay.cli.say import say
from trainrelay.config import Config, Stage, StagePaths
from trainrelay.errors import Refusal, UserError
from trainrelay.files import read_record, sha256_of, write_json
from trainrelay.records import CheckpointFacts, CheckpointRecord, FileDigest, Finding


def run(arguments: argparse.Namespace) -> None:
    """Promote a stage's checkpoint."""
    config = configured(arguments)
    promote_stage(config, *named_stage(config, arguments.where))


def promote_stage(config: Config, run_name: str, stage: str) -> None:
    """Write the promotion target and checkpoint.json, or refuse with what to type."""
    facts = state.read(config, run_name, stage)
    if facts.train is None:
        raise UserError(f"{run_name}/{stage}: {facts.paths.train} is missing; type: snakemake")
    settings, source = config.stage(run_name, stage), facts.train.final_checkpoint
    accepted = _accepted(settings, facts, source)
    _gate(facts, source, _blocking(config, facts), accepted)
    if accepted is None:
        checkpoint.verify(source, epochs=settings.checkpoint_epoch, iterations=_iterations(facts, source))
    target = facts.paths.target
    digest = checkpoint.promote(
        Path(source.file.path),
        target,
        expected_sha256=source.file.sha256,
        overwrite=settings.promotion is not None and settings.promotion.overwrite,
        owned_sha256=_owned(facts.paths, target),
    )
    write_json(facts.paths.promoted, digest)
    write_json(
        facts.paths.checkpoint,
        CheckpointRecord(
            run=run_name,
            stage=stage,
            source=source,
            target=str(target) if target else None,
            accepted=accepted,
        ),
    )
    say(f"{run_name}/{stage}: epoch {source.epoch} is handed on: {target or source.file.path}")


def _accepted(settings: Stage, facts: state.Facts, source: CheckpointFacts) -> str | None:
    """Why a person lets this very checkpoint go on in spite of findings."""
    if not settings.gate:
        return "gate: off"
    given = facts.accepted
    if given is None or given.kind != "gate" or given.subject != source.file.sha256:
        return None
    return given.reason


def _blocking(config: Config, facts: state.Facts) -> list[Finding]:
    return [finding for finding in judge_stage(config, facts).findings if finding.blocking]


def _gate(facts: state.Facts, source: CheckpointFacts, blocking: list[Finding], accepted: str | None) -> None:
    if not blocking or accepted is not None:
        return
    listed = "\n".join(f"  {finding.check}: {finding.message}" for finding in blocking)
    raise Refusal(
        f"{facts.run}/{facts.stage}: {source.file.path} is not handed on:\n{listed}\n"
        f'To hand it on all the same, type: trainrelay accept {facts.run}/{facts.stage} --reason "..."'
    )


def _iterations(facts: state.Facts, source: CheckpointFacts) -> int | None:
    """The global iteration that the checkpoint must have, where an epoch's length was seen."""
    per_epoch = facts.attempts[-1].iters_per_epoch if facts.attempts else None
    return per_epoch * source.epoch if per_epoch and source.epoch else None


def _owned(paths: StagePaths, target: Path | None) -> str | None:
    """What we last wrote to the target, also when the training that did it has been set aside since."""
    if target is None or not target.is_file():
        return None
    asides = sorted(paths.folder.parent.glob(f"{paths.folder.name}.old-*/{paths.promoted.name}"))
    records = [read_record(path, FileDigest) for path in (*asides, paths.promoted)]
    ours = [record.sha256 for record in records if record]
    there = sha256_of(target).sha256
    return there if there in ours else None
