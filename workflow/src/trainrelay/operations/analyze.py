"""`trainrelay analyze`: any logs to the terminal, or a stage's own into its folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from trainrelay.analysis import DescribedLines, analyze, not_judged, read, to_json, with_own
from trainrelay.config import Config
from trainrelay.errors import LogError, UnknownLogError
from trainrelay.preflight.knowledge import use_knowledge
from trainrelay.records import Analysis, CheckpointFacts, Expectation, Log
from trainrelay.report import analysis_markdown
from trainrelay.system.files import write_bytes, write_json
from trainrelay.system.say import say
from trainrelay.trainers import RUNGS
from trainrelay.training import state
from trainrelay.training.attempts import attempt_log
from trainrelay.training.context import StageContext
from trainrelay.training.finished import trained_to
from trainrelay.training.request import initial_checkpoint, rung

_say_once = cache(say)


def analyze_stage(at: StageContext) -> Analysis:
    """Read and judge all attempts of a stage; writes analysis.json and analysis.md."""
    facts = state.read(at)
    try:
        analysis = judge_stage(facts)
    except LogError as error:
        if facts.train is None:  # a line that is understood may yet come
            raise
        analysis = not_judged((), str(error))
    write_json(facts.paths.analysis, to_json(analysis, curves=True))
    text = analysis_markdown(at.name, analysis)
    write_bytes(facts.paths.analysis_text, text.encode())
    return analysis


def merged_series(stages: Iterable[StageContext]) -> Iterator[dict[str, object]]:
    """All rows of these stages, in order; of a metric that is called as a column of ours, ours is shown."""
    for at in stages:
        try:
            rows = read_stage(state.read(at)).rows
        except LogError as error:
            rows = ()
            say(f"left out: {error}")
        for row in rows:
            place = {"stage": at.stage, "phase": row.phase, "step": row.step}
            place |= {"epoch": row.epoch, "iteration": row.iteration}
            yield {**place, **row.values, **place}


def leave_out_wrong_knowledge(config: Config) -> None:
    """Your own files from here on: one that was damaged while it trained keeps nothing from being judged."""
    for error in use_knowledge(config):
        _say_once(f"warning: judged without it: {error}")


def judge_stage(facts: state.Facts) -> Analysis:
    """What the logs of a stage say, held against what the workflow knows of it."""
    leave_out_wrong_knowledge(facts.at.config)
    try:
        return analyze(read_stage(facts), _expectation(facts))
    except UnknownLogError as error:
        if facts.train is None:  # a line that is understood may yet come
            raise
        return not_judged(map(str, _logs(facts)), str(error))


def read_stage(facts: state.Facts) -> Log:
    """The logs of a stage as one table; LogError if there are none, or none that is understood."""
    # Where those begin that continue within an epoch; the format of lines that the user describes.
    attempts, trainer = facts.attempts, facts.at.trainer
    within = {attempt_log(facts.paths.folder, one): one.began for one in attempts if one.began[1]}
    there, one_start = _logs(facts), not trainer.metrics
    first = attempts[-1].epoch_bases.printed
    described = trainer.described and DescribedLines(trainer.described, first, one_start=one_start)
    return read(there, within, described, with_own(described, first))


def described_lines(config: Config, logs: Sequence[Path]) -> DescribedLines | None:
    """What the config says of the lines of logs: of the stage in whose folder they are, else of any."""
    stages = [StageContext(config, run, stage) for run, one in config.runs.items() for stage in one.stages]
    described = [at for at in stages if at.trainer.described]
    folders = {log.resolve() for log in logs}
    inside = [at for at in described if any(one.is_relative_to(at.paths.folder.resolve()) for one in folders)]
    trainer = next((at.trainer for at in (*inside, *described)), None)
    if trainer is None or trainer.described is None:
        return None
    return DescribedLines(trainer.described, None, one_start=not trainer.metrics)


def _logs(facts: state.Facts) -> list[Path]:
    trainer = facts.at.trainer
    logs = [attempt_log(facts.paths.folder, attempt) for attempt in facts.attempts]
    if trainer.metrics:
        logs = [folder / trainer.metrics for folder in facts.work_dirs.all]
    there = [log for log in logs if log.is_file()]
    if not there:
        gone = f"the logs of its attempts are gone from {facts.paths.folder}/attempts; put them back"
        none = f"{facts.name}: no attempt has written {trainer.metrics or 'a log'} yet; train it first"
        raise LogError(none if trainer.metrics or not logs else gone)
    return there


def _expectation(facts: state.Facts) -> Expectation:
    accepted = state.taken_as_is(facts)
    used, config, settings = facts.attempts[-1].backend, facts.at.config, facts.at.settings
    # What the first attempt had to load.
    started = facts.identity.initial_checkpoint if facts.identity else None
    return Expectation(
        # Of a training that still runs, nobody expects the last epoch yet.
        # A training by iterations is one epoch.
        epochs=None if facts.alive else _epochs(facts, accepted),
        # Unless the config no longer names it.
        backend=rung(config, used).backend if used in {*RUNGS, *config.rungs} else None,
        initial_checkpoint=started.path if started else initial_checkpoint(facts.at),
        initial=next((one.initial for one in reversed(facts.attempts) if one.initial), None),
        match_min=facts.at.settings.init_match_min,
        # A log by iterations does not say that it resumed: whether one did is judged once it has ended.
        resumed=tuple(
            one.resumed_from
            for one in facts.attempts
            if one.resumed_from and (one.end or facts.unit == "epoch")
        ),
        ended=tuple(attempt.end for attempt in facts.attempts if attempt.end),
        failed=_failed(facts),
        saves_steps=facts.at.trainer.has_steps and settings.hook and settings.checkpoint_interval_min > 0,
        finished=trained_to(facts.attempts) >= facts.asked,
    )


def _epochs(facts: state.Facts, accepted: CheckpointFacts | None) -> int | None:
    if facts.unit == "iteration":
        return None if accepted else 1
    return accepted.epoch if accepted else facts.asked


def _failed(facts: state.Facts) -> tuple[str, ...]:
    """How the trainer failed each time that it had saved a checkpoint, after the last one as well."""
    begun = [one.resumed_at for one in facts.attempts]
    saved = (after > before for before, after in pairwise([*begun, facts.done]))
    told = ((one.end, (one.reason or "").rpartition("; warning: ")) for one in facts.attempts)
    ends = zip(saved, told, strict=True)
    return tuple(why for came, (end, (_, warned, why)) in ends if came and (warned or end == "trainer-bug"))
