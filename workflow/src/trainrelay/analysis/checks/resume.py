"""Where the training began: from the earlier stage's checkpoint, or resumed; and what was trained twice."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from trainrelay.analysis.case import Case
from trainrelay.analysis.readers.mmcv_markers import OF_A_HEAD
from trainrelay.records import Finding, InitialWeights, Marker, ResumePoint
from trainrelay.text import count

SMALL_PART = 0.1  # of the whole training
MOST_NAMED = 10  # parts
_MISFIT = (
    "Missing keys are expected for parts that the earlier stage does not have: read the list in the trainer's"
    " log. Keys that are missing while others are unexpected, or of another size outside of the heads, mean"
    " that another model was saved."
)
_COUNTS = re.compile(r"(\d+) missing, (\d+) unexpected, (\d+) of another size")


def resume(case: Case) -> Iterator[Finding]:
    """Critical: asked to resume, started from zero, which a trainer does without a word.

    What counts is the start that the rows of the log, and so the weights, come from: a start from
    zero that a later attempt left behind is no harm.
    """
    if not case.train or not _began_at_zero(case):
        return
    unproven = _unproven(case)
    if unproven and _fresh_starts_before(case) >= _fresh_starts_allowed(case):
        yield _from_zero(case, unproven[0])
    elif case.log.superseded and not case.expectation.resumed:
        yield _again(case)


def _began_at_zero(case: Case) -> bool:
    first = case.train[0]
    resumed = any(m.kind == "resumed" and m.segment == first.segment for m in case.log.markers)
    if case.from_zero:  # every epoch's first iteration is logged, and lines do not come at even distances
        return not resumed and first.epoch == 1
    return not resumed and first.step <= max(1, case.log.interval or first.step)


def _unproven(case: Case) -> list[ResumePoint]:
    """The resume points without a mark of a resume after that epoch, in order."""
    said = [marker.epoch for marker in case.log.markers if marker.kind == "resumed"]
    missing: list[ResumePoint] = []
    for point in case.expectation.resumed:
        if point.epoch in said:
            said.remove(point.epoch)
        else:
            missing.append(point)
    return missing


def _fresh_starts_before(case: Case) -> int:
    """How many segments before the one that counts started without resuming."""
    origin = case.train[0].segment
    started = {m.segment for m in case.log.markers if m.kind == "started"}
    resumed = {m.segment for m in case.log.markers if m.kind == "resumed"}
    if not started:  # JSON logs do not show starts
        return origin
    return len({segment for segment in started - resumed if segment < origin})


def _fresh_starts_allowed(case: Case) -> int:
    """How many attempts were not to resume; the first one, if the attempts are not known."""
    expected = case.expectation
    return max(0, len(expected.ended) - len(expected.resumed)) if expected.ended else 1


def _from_zero(case: Case, point: ResumePoint) -> Finding:
    within = point.epoch is not None and point.iteration is not None
    place = f"{point}" + (f", iter {point.iteration}" if within else "")
    return Finding(
        "resume",
        "critical",
        f"A resume after {place} was requested, but the training started from zero: {_proof(case, point)}.",
        where=case.where(case.train[0]),
        evidence={"asked": point.done, "checkpoint": point.path, "segment": case.train[0].segment},
        advice=f"Check that {point.path} can be read where the trainer runs, and start again.",
        blocking=True,
    )


def _proof(case: Case, point: ResumePoint) -> str:
    if case.log.format.startswith(("mmcv", "mmengine")):
        return f"the log has no line `resumed epoch {point.epoch}`"
    return f"the log begins again with the first {'iterations' if case.by_iteration else 'epoch'}"


def _again(case: Case) -> Finding:
    """A warning where more than a small part was lost: the run before looks like this training, and one of
    them is short of the end."""
    superseded, redone = case.log.superseded, case.log.redone_iterations
    # A log of epochs alone is appended to by every training in its folder, and knows no end.
    planned = (case.epochs or (math.inf if case.log.epochs_only else 0)) * (case.log.iters_per_epoch or 1)
    planned = max(planned, case.train[-1].step)
    cut_off = redone and (redone < case.train[-1].step or (case.epochs and not case.came.finished))
    runs = f"{count(superseded, 'earlier run')} {'is' if superseded == 1 else 'are'}"
    again = f"; {_redone(case)} done again" if cut_off else ""
    return Finding(
        "resume",
        "warning" if cut_off and redone > SMALL_PART * planned else "info",
        f"{runs} superseded: the last one started from zero{again}. Only its rows are judged.",
        where=case.where(case.train[0]),
        evidence={"redone_iterations": redone, "segment": case.train[0].segment},
        advice="If it should have resumed, give the trainer the newest checkpoint with"
        f" {'--resume-from' if case.log.format.startswith('mmcv') else '--resume'}.",
    )


def _redone(case: Case) -> str:
    redone, unit = case.log.redone_iterations, "epoch" if case.log.epochs_only else "iteration"
    return f"{count(redone, unit)} {'was' if redone == 1 else 'were'}"


def redone(case: Case) -> Iterator[Finding]:
    """Iterations between the checkpoint that was resumed from and the crash; `resume` tells of others."""
    iterations = case.log.redone_iterations
    if iterations and (case.expectation.resumed or not case.log.superseded):
        yield Finding(
            "redone",
            "info",
            f"{_redone(case)} done again after a restart ({case.log.segments} segments).",
            evidence={"redone_iterations": iterations, "segments": case.log.segments},
            advice="More frequent checkpoints make this smaller.",
        )


def gaps(case: Case) -> Iterator[Finding]:
    """Parts of the training of which no log was given: nothing of them is judged."""
    unit = "epochs" if case.log.epochs_only else "iterations"
    parts = [f"{start + 1} to {end}" for start, end in case.log.gaps]
    if parts:
        yield Finding(
            "gaps",
            "info",
            f"No log of {unit} {', '.join(parts[:MOST_NAMED])}: a later start continued after them.",
            evidence={"gaps": len(parts), f"missing_{unit}": sum(end - at for at, end in case.log.gaps)},
            advice="Give the logs of all starts; what happened there is not judged.",
        )


def initial_checkpoint(case: Case) -> Iterator[Finding]:
    """Critical: a start (not a resume) that the rows come from, and that did not load the expected file.

    A log that does not show the start (JSON, or cut at its beginning) proves nothing either way.
    """
    expected = case.expectation.initial_checkpoint
    segment = case.train[0].segment if case.train else 0
    kinds = {marker.kind for marker in case.log.markers if marker.segment == segment}
    if expected is None or "started" not in kinds or "resumed" in kinds:
        return
    loaded = _loaded(case.log.markers, segment)
    if case.from_zero:  # scripts with argparse print no line when they load weights, but their arguments
        named = (case.log.config.get(key) for key in ("finetune", "start_from_checkpoint"))
        loaded += [path for path in named if isinstance(path, str) and path]
    if not (case.from_zero and not loaded) and not any(same_file(expected, path) for path in loaded):
        yield _wrong(expected, loaded)


def same_file(one: str, other: str) -> bool:
    """Whether one path is the end of the other: trainers print them relative to their own checkout."""
    short, long = sorted((_parts(one), _parts(other)), key=len)
    return bool(short) and long[-len(short) :] == short


def _parts(path: str) -> list[str]:
    parts = PurePosixPath(posixpath.normpath(path)).parts
    return [part for part in parts if part not in ("/", "..")]


def _wrong(expected: str, loaded: list[str]) -> Finding:
    instead = f"loaded {', '.join(loaded)} instead" if loaded else "loaded no checkpoint"
    return Finding(
        "initial-checkpoint",
        "critical",
        f"The training should have started from {expected}, but {instead}.",
        evidence={"expected": expected, "loaded": loaded},
        advice=f"Check why the trainer did not load {expected} (mmcv: load_from), and start again.",
        blocking=True,
    )


def partial_load(case: Case) -> Iterator[Finding]:
    """Weights that did not match: new heads are missing or of another size by design, a pre-training's own
    head is left over, and so is what a part's own pre-training does not fit; all else is a warning."""
    seen = case.expectation.initial
    known = seen is not None and seen.share is not None
    if seen and known:
        yield from _seen(seen)
    elif case.train and (least := case.expectation.match_min) is not None:
        yield Finding(
            "partial-load",
            "warning",
            f"init_match_min is {least:g} and was not compared: no load of the initial checkpoint was seen.",
            evidence={"init_match_min": least},
            advice="Read in the trainer's log what it loaded, or compare both files' weights.",
        )
    for at, marker in enumerate(case.log.markers):
        if marker.kind == "mismatch":
            path = next(reversed(_loaded(case.log.markers[:at], marker.segment)), None)
            whole = _whole_model(case, path)
            if not (whole and known):
                yield _partial(marker, path, whole)


def _seen(seen: InitialWeights) -> Iterator[Finding]:
    """What the hook saw of the initial checkpoint itself, which is more than the log's lines show."""
    lacking, left = {name for name, came, keys in seen.modules if came < keys}, dict(seen.left_over)
    if lacking or left:
        harmless = seen.share and not lacking & left.keys() and all(map(OF_A_HEAD.match, seen.shapes))
        yield Finding(
            "partial-load",
            "info" if harmless else "warning",
            f"The initial checkpoint does not match the model exactly: {seen}.",
            evidence={"share": seen.share, "lacking": sorted(lacking), "left_over": left},
            advice=_MISFIT,
        )


def _loaded(markers: Iterable[Marker], segment: int) -> list[str]:
    return [marker.text for marker in markers if marker.kind == "loaded" and marker.segment == segment]


def _whole_model(case: Case, path: str | None) -> bool:
    """Whether these are the weights of the whole model, as far as the log shows."""
    config = case.log.config
    named = (case.expectation.initial_checkpoint, config.get("load_from"), config.get("resume_from"))
    wholes = [name for name in named if isinstance(name, str)]
    return path is None or "load_from" not in config or any(same_file(path, whole) for whole in wholes)


def _partial(marker: Marker, path: str | None, whole_model: bool) -> Finding:
    counts = _COUNTS.search(marker.text)
    missing, unexpected, sizes = (int(text) for text in counts.groups()) if counts else (0, 0, 0)
    heads, apart = "all in heads" in marker.text, "in other modules" in marker.text
    harmless = (not sizes or heads) and (apart or not (missing and unexpected))
    return Finding(
        "partial-load",
        "info" if harmless or not whole_model else "warning",
        f"The weights of {path or 'the checkpoint'} do not match the model exactly: {missing} keys missing,"
        f" {unexpected} unexpected, {sizes} of another size.",
        evidence={"missing": missing, "unexpected": unexpected, "sizes": sizes, "checkpoint": path},
        advice=_MISFIT,
    )
