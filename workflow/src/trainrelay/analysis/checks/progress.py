"""Whether all epochs were trained, how the attempts at it ended, and over which backend."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from trainrelay.analysis.case import Case
from trainrelay.analysis.numbers import capital
from trainrelay.progress_lines.causes import end_of
from trainrelay.records import STOPPED, UNKNOWN, Finding, Marker, Progress, Severity, advice
from trainrelay.text import count


def progress(case: Case) -> Iterator[Finding]:
    """Unfinished is critical if the workflow expects an end; else its severity depends on errors."""
    came = case.came
    if not case.train:
        yield _no_rows(case, came)
    elif came.finished:
        all_of_it = f"{came.iters_per_epoch} iterations" if case.by_iteration else f"{came.epochs} epochs"
        # Where the workflow knows how each attempt ended, `attempts` tells it.
        error = None if case.expectation.ended else case.last_error
        yield Finding(
            "progress",
            "warning" if error else "info",
            f"All {all_of_it} were trained{_ended_with(error)}.",
            evidence={**_evidence(came), **_error(error)},
            advice="Check what follows the last epoch (an evaluation, an export): it may not have run."
            if error
            else "",
        )
    else:
        yield _unfinished(case, came)


def _no_rows(case: Case, came: Progress) -> Finding:
    """A warning where epochs passed: mmcv logs each n-th iteration of an epoch, and no other."""
    error = case.last_error
    what = "The training" if case.by_iteration else f"Epoch {came.epoch}"
    said = f"{what} was validated or saved, but no training row was logged{_cause(case)}"
    none = "No iteration was logged" if case.log.format != UNKNOWN else "No line of the log is known"
    end = end_of(error.text) if error else "trainer-bug"
    unread = case.log.format == UNKNOWN and end in STOPPED  # it may have trained well until then
    return Finding(
        "progress",
        "warning" if came.epoch or unread else "critical",
        f"{said if came.epoch else none}{_ended_with(error)}.",
        evidence=_error(error),
        advice="Let the trainer log at least once per epoch, so that its losses can be judged."
        if came.epoch
        else "Read the end of the trainer's log, fix the cause and run the same command again."
        if end == "trainer-bug"
        else f"{capital(advice(end))}.",
        blocking=not (came.epoch or unread),
    )


def _cause(case: Case) -> str:
    resumed = [(m.epoch, m.iteration) for m in case.log.markers if m.kind == "resumed"]
    lengths = [iteration // epoch for epoch, iteration in resumed if epoch and iteration]
    found = (case.log.config.get("log_config.interval"), *lengths[:1], None)
    counts = (f" ({n} iterations)" if isinstance(n, int) else "" for n in found)
    words = ": most likely the log interval{} is longer than an epoch{}".format(*counts)
    if not case.log.format.startswith(("mmcv", "mmengine")):
        return "" if case.from_zero else ", or none of its lines is understood"
    return words


def _unfinished(case: Case, came: Progress) -> Finding:
    """What the ranks printed when you or Slurm ended them is no error."""
    stopped = any(end in STOPPED for end in case.expectation.ended[-1:])
    error = None if stopped else case.last_error
    expected = case.expectation.epochs is not None and not stopped
    end = came.epochs is not None or (case.by_iteration and came.iters_per_epoch)
    known = "Not finished" if end else "The number of epochs is not known; so far"
    lost = expected or (error is not None and end_of(error.text) == "diverged")
    severity: Severity = "critical" if lost else "warning" if stopped or error else "info"
    return Finding(
        "progress",
        severity,
        f"{'Stopped on request' if stopped else known}: {_place(case, came)}{_ended_with(error)}.",
        where=case.where(case.train[-1]),
        evidence={**_evidence(came), **_error(error)},
        advice="Run the same command again: it resumes from its newest checkpoint."
        if stopped
        else f"{capital(advice(end_of(error.text)))}."
        if error
        else "If the training still runs, wait for its end; else run the same command again: it resumes.",
        blocking=expected,
    )


def _ended_with(error: Marker | None) -> str:
    return f"; the trainer ended with `{error.text}`" if error else ""


def _error(error: Marker | None) -> dict[str, str]:
    return {"error": error.text, "end": end_of(error.text)} if error else {}


def _place(case: Case, came: Progress) -> str:
    share = f" ({100 * came.fraction:.1f}% complete)" if came.fraction is not None else ""
    length = f"/{came.iters_per_epoch}" if came.iters_per_epoch else ""
    if case.by_iteration:
        return f"iter {came.iteration}{length}{share}"
    of = f" of {came.epochs}" if came.epochs else ""
    iteration = "" if case.log.epochs_only else f", iter {came.iteration}{length}"
    return f"epoch {came.epoch}{of}{iteration}{share}"


def _evidence(came: Progress) -> dict[str, object]:
    return {
        "epoch": came.epoch,
        "epochs": came.epochs,
        "iteration": came.iteration,
        "iters_per_epoch": came.iters_per_epoch,
        "fraction": came.fraction,
    }


def attempts(case: Case) -> Iterator[Finding]:
    """How many attempts ended how, where the workflow knows it; a failure that came again is a warning."""
    ended = case.expectation.ended
    if not ended:
        return
    counts: Counter[str] = Counter(ended)
    ways = ", ".join(f"{times} {end}" for end, times in counts.items())
    # What differs in numbers only, such as the epoch or the rank, is the same.
    failed = Counter(
        re.sub(r"(?<!line )(?<!\d)\d+", "N", why) for why in case.expectation.failed
    ).most_common(1)
    again = [f"{times} attempts saved a checkpoint, then failed: {why}" for why, times in failed if times > 1]
    yield Finding(
        "attempts",
        "warning" if again else "info",
        ". ".join([*again, f"{count(len(ended), 'attempt')}: {ways}."]),
        evidence=dict(counts),
        advice="Check the failure in the log: what follows a checkpoint (an evaluation?) may never have run."
        if again
        else "",
    )


def backend(case: Case) -> Iterator[Finding]:
    """gloo on GPUs works and is slower; another backend than the workflow set is a warning."""
    seen, expected = case.log.setup.get("backend"), case.expectation.backend
    if seen and expected and seen != expected:
        yield Finding(
            "backend",
            "warning",
            f"The workflow set the {expected} backend, but the trainer's config has {seen}.",
            evidence={"expected": expected, "seen": seen},
            advice="Check that --cfg-options dist_params.backend=... reaches the trainer.",
        )
    on_gpus = "gpus" in case.log.setup or "memory" in case.names  # mmcv prints it only if there are GPUs
    if (seen or expected) == "gloo" and on_gpus:
        yield Finding(
            "backend",
            "info",
            "The gloo backend is in use on GPUs; it works, and is slower than NCCL.",
            evidence={"backend": "gloo"},
            advice="Try NCCL with NCCL_P2P_DISABLE=1 or NCCL_IB_DISABLE=1 before settling for gloo.",
        )
