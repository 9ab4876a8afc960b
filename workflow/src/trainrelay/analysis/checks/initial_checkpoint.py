"""Whether the training started from the checkpoint of the earlier stage."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from trainrelay.analysis.case import Case
from trainrelay.records import Finding, Marker

_COUNTS = re.compile(r"(\d+) missing, (\d+) unexpected, (\d+) of another size")


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
    for at, marker in enumerate(case.log.markers):
        if marker.kind == "mismatch":
            path = next(reversed(_loaded(case.log.markers[:at], marker.segment)), None)
            yield _partial(marker, path, _whole_model(case, path))


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
        advice="Missing keys are expected for parts that the earlier stage does not have: read the list in"
        " the trainer's log. Keys that are missing while others are unexpected, or of another size outside of"
        " the heads, mean that another model was saved.",
    )
