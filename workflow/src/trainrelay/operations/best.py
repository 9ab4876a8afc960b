"""What is promoted where the config asks for the best: the epoch or iteration that the logged validation
names."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from trainrelay.analysis import evaluations
from trainrelay.errors import LogError, Refusal
from trainrelay.operations.analyze import read_stage
from trainrelay.records import Best, CheckpointFacts, Score
from trainrelay.text import did_you_mean, printable
from trainrelay.training import state
from trainrelay.training.attempts import attempt_log, trained_last
from trainrelay.training.retention import explained

_RUNNERS_UP = 3
_SHOWN = 20  # metrics of a validation; one that measures each class has hundreds


def best_checkpoint(facts: state.Facts) -> tuple[CheckpointFacts, Best]:
    """The best checkpoint, and why it is the best; Refusal in place of a second best."""
    scores, files = _scores(facts, facts.at.settings.choice.best or ""), _files(facts)
    ranked = _ranked(facts, scores)
    equals = (one for one in ranked if one.value == ranked[0].value)
    has_file = (one for one in equals if one.done in files or state.promoted_best(facts, one.done))
    first = next(has_file, ranked[0])
    others = [one for one in ranked if one != first]
    last = trained_last(facts.attempts, first.done)
    best = Best(
        asked=facts.at.settings.best or "",
        first=first,
        runners_up=tuple(others[:_RUNNERS_UP]),
        attempt=last.number if last else None,
        unevaluated=_unevaluated(facts, [one.done for one in scores]),
    )
    path, promoted = files.get(first.done), state.promoted_best(facts, first.done)
    # A copy by save_best has the same weights in other bytes.
    if promoted and (path is None or (facts.paths.target and str(path) != promoted.file.path)):
        return promoted, best
    if path is None:
        raise Refusal(_no_file(facts, ranked, files))
    oldest = facts.checkpoints[-1][1] if facts.checkpoints else path
    return facts.at.trainer.inspect(path, facts.work_dirs.epoch_base, oldest), best


def _unevaluated(facts: state.Facts, evaluated: list[int]) -> int | None:
    """The last epoch (iteration) if it lacks the evaluation that others have, as after a kill in it."""
    *_, before, last = (-1, *sorted({0, *evaluated}))
    return facts.asked if last + (last - before) <= facts.asked else None


def _files(facts: state.Facts) -> dict[int, Path]:
    """By epoch (iteration), where its weights are, also if the config names another work dir since."""
    dirs = facts.work_dirs
    if facts.elsewhere:
        dirs = replace(facts.elsewhere, bases=dirs.bases, attempts=dirs.attempts, kept=dirs.kept)
    return dirs.of_weights(facts.at.trainer)


def ranking(facts: state.Facts) -> list[Score]:
    """The finite values of the metric that is asked for, the best first, of equals the earliest."""
    return _ranked(facts, _scores(facts, facts.at.settings.choice.best or ""))


def _ranked(facts: state.Facts, scores: list[Score]) -> list[Score]:
    choice = facts.at.settings.choice
    finite = [one for one in scores if one.done <= facts.asked and math.isfinite(one.value)]
    if not finite:
        what = (
            f"{choice.best} is not finite in any evaluation up to {facts.unit} {facts.asked}"
            if scores
            else "it is never evaluated"
        )
        raise Refusal(_nothing(facts, what))
    sign = -1 if choice.mode == "max" else 1
    return sorted(finite, key=lambda one: (sign * one.value, one.done))


def _scores(facts: state.Facts, metric: str) -> list[Score]:
    """One metric of the validation, by its whole name or by what only its name ends with after a slash."""
    logs = {one.number: attempt_log(facts.paths.folder, one) for one in facts.attempts}
    gone = [number for number, log in logs.items() if not log.is_file()]
    if gone and not facts.at.trainer.metrics:
        raise Refusal(_nothing(facts, f"the log of attempt {gone[0]} is gone; put it back"))
    try:
        logged = evaluations(read_stage(facts), facts.unit)
    except LogError as error:
        raise Refusal(_nothing(facts, str(error))) from None
    ends = [name for name in logged if name.rpartition("/")[2] == metric]
    name = metric if metric in logged or len(ends) != 1 else ends[0]
    if name in logged:
        return logged[name]
    if not logged:
        raise Refusal(_nothing(facts, "its log shows no validation"))
    near = did_you_mean(metric, [*logged, *(name.rpartition("/")[2] for name in logged)])
    names = ends or list(logged)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = f"{', '.join(names[:_SHOWN])}{more}"
    called = f"ends with {metric} as several do" if ends else f"is called {metric}{near}"
    raise Refusal(printable(_nothing(facts, f"no metric of its validation {called}; it logs {shown}")))


def _nothing(facts: state.Facts, why: str) -> str:
    asked = f"{facts.name}: no {facts.unit} is known to have the {facts.at.settings.best}: {why}"
    return (
        f"{asked}; set `checkpoint: {{best: METRIC, mode: max}}` to a metric that it logs,"
        f" `checkpoint: {{{facts.unit}: N}}` or `checkpoint: latest` ({facts.unit} {facts.asked})"
    )


def _no_file(facts: state.Facts, ranked: list[Score], files: dict[int, Path]) -> str:
    """That the best has no checkpoint, the best that has one, and what to set."""
    what = f"{facts.name}: the {facts.at.settings.best} is {ranked[0]}, and {facts.work_dirs.current} has no"
    what += f" checkpoint of that {facts.unit}'s weights"
    what += f" ({said})" if (said := explained(facts)) else ""
    second = next((one for one in ranked if one.done in files), None)
    instead = second.done if second else max(files, default=facts.asked)
    has = f"the best that has one is {second}" if second else f"nor of another evaluated {facts.unit}"
    return (
        f"{what}; {has}; to promote {facts.unit} {instead}, set `checkpoint: {{{facts.unit}: {instead}}}`;"
        f" for the next training, let the trainer save each {facts.unit} that it evaluates and keep it"
        " (max_keep_ckpts, or its save_best)"
    )
