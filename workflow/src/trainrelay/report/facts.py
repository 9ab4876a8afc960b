"""The facts on a stage's card, and how much of it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainrelay.analysis import naming
from trainrelay.records import Analysis, MetricSummary, StageReport
from trainrelay.report import details
from trainrelay.report.formatting import change, duration, gpu_hours, number, place, utc
from trainrelay.text import count


@dataclass(frozen=True, slots=True)
class Fact:
    """A named value of a stage's card, and what qualifies it."""

    name: str
    value: str
    detail: str = ""


def of(stage: StageReport, *, brief: bool = False) -> tuple[Fact, ...]:
    """The facts on a stage's card; brief for the overview."""
    trained = (_epochs(stage), _loss(stage), *_validation(stage))
    if stage.log_alone and stage.analysis:
        return (*trained, *_of_log(stage.analysis))
    cost = () if brief else (_gpu_hours(stage),)
    return (*trained, _time(stage), *cost, _backend(stage), _promoted(stage))


def _of_log(analysis: Analysis) -> Iterator[Fact]:
    """What else a log alone may tell."""
    if seconds := details.trained_s(analysis):
        yield Fact("Time", f"about {duration(seconds)}", "its iterations at their median time")
    if analysis.restarts:
        yield Fact("Restarts", str(analysis.restarts))
    if "backend" in analysis.setup:
        yield Fact("Backend", analysis.setup["backend"])


def fraction_done(stage: StageReport) -> float:
    """How much of the stage is trained, 0 to 1."""
    if stage.train:
        return 1.0
    if stage.analysis and stage.analysis.progress.fraction is not None:
        return min(max(stage.analysis.progress.fraction, 0.0), 1.0)
    return min(_epochs_done(stage) / stage.epochs, 1.0) if stage.epochs else 0.0


def _iterations(stage: StageReport) -> Fact:
    seen = [each.last_iteration or 0 for each in stage.attempts]
    if stage.analysis and stage.analysis.by_iteration:  # of one that runs, only the log knows
        came = stage.analysis.progress
        seen.append((came.finished and stage.iters) or came.iteration)
    done = max(seen, default=0)
    done = (stage.train and stage.train.iters) or done
    return Fact("Iterations done", f"{done} of {stage.iters}" if stage.iters else str(done))


def _epochs(stage: StageReport) -> Fact:
    found, detail = stage.analysis, ""
    if stage.iters or (stage.log_alone and found and found.by_iteration):
        return _iterations(stage)
    if found and found.progress.epoch and not (stage.train or found.progress.finished or found.epochs_only):
        detail = f"in {place(found)}"
    done, asked = _epochs_done(stage), stage.epochs
    return Fact("Epochs done", f"{done} of {asked}" if asked else str(done), detail)


def _epochs_done(stage: StageReport) -> int:
    if stage.train:
        return stage.train.epochs or 0
    if stage.analysis:
        progress = stage.analysis.progress
        is_whole = progress.finished or stage.analysis.epochs_only
        return progress.epoch if is_whole else max(progress.epoch - 1, 0)
    return max((max((each.last_epoch or 1) - 1, 0) for each in stage.attempts), default=0)


def _loss(stage: StageReport) -> Fact:
    if not (summary := total(stage)):
        return Fact("Total loss", "not logged yet")
    return Fact("Total loss", _ends(summary), change(summary))


def _validation(stage: StageReport) -> Iterator[Fact]:
    for name, each in overall(stage):
        yield Fact(name, _ends(each), f"in {count(each.count, 'validation')}")


def overall(stage: StageReport) -> list[tuple[str, MetricSummary]]:
    """The one validation metric to show first, if there is any."""
    metrics = stage.analysis.metrics if stage.analysis else {}
    val = metrics.get("val", {})
    name = naming.overall_score(naming.validation_scores(metrics.get("train", {}), val))
    return [] if name is None else [(name, val[name])]


def total(stage: StageReport) -> MetricSummary | None:
    """The total loss of training, if it was logged."""
    return stage.analysis.total_summary if stage.analysis else None


def _ends(summary: MetricSummary) -> str:
    last = number(summary.last)
    return last if summary.count == 1 else f"{number(summary.first)} → {last}"


def _time(stage: StageReport) -> Fact:
    ended = [each.seconds for each in stage.attempts if each.ended_s is not None]
    live = [each for each in stage.attempts if each.ended_s is None]
    seconds = stage.train.train_s if stage.train else sum(ended)
    more = f"and attempt {live[-1].number}, since {utc(live[-1].started_s)}" if live else ""
    if not stage.train and not ended:
        return Fact("Time", "not started" if not live else "running", more.removeprefix("and "))
    return Fact("Time", duration(seconds), more or f"in {count(len(stage.attempts) or 1, 'attempt')}")


def _gpu_hours(stage: StageReport) -> Fact:
    if stage.resources.get("gpu") == 0:
        return Fact("GPU-hours", "none", "trained on CPU")
    if stage.train:
        return Fact("GPU-hours", gpu_hours(stage.train.gpu_h))
    if not stage.attempts:
        return Fact("GPU-hours", "none yet")
    ended = sum(each.seconds * each.world_size for each in stage.attempts)
    running = any(each.ended_s is None for each in stage.attempts)
    return Fact("GPU-hours", gpu_hours(ended / 3600), "in ended attempts" if running else "")


def _backend(stage: StageReport) -> Fact:
    used = backends(stage)
    logged = stage.analysis.setup.get("backend") if stage.analysis else None
    last = used[-1] if used else stage.train.backend if stage.train else logged
    detail = f"fell back: {' → '.join(used)}" if len(used) > 1 else ""
    return Fact("Backend", last or "not chosen yet", detail)


def backends(stage: StageReport) -> tuple[str, ...]:
    """The rung that the ladder begins with, then those of the attempts in order, each change once."""
    used = [attempt.backend for attempt in stage.attempts]
    used = [*(stage.attempts[0].ladder[:1] if stage.attempts else ()), *used]
    return tuple(name for at, name in enumerate(used) if at == 0 or name != used[at - 1])


def _promoted(stage: StageReport) -> Fact:
    if stage.checkpoint is None:
        return Fact("Promoted checkpoint", "none yet")
    target = stage.checkpoint.target or stage.checkpoint.source.file.path
    digest = f"sha256 {stage.checkpoint.source.file.sha256[:12]}"
    detail = "; ".join(map(str, filter(None, [stage.checkpoint.best, digest])))
    return Fact("Promoted checkpoint", target.split("/")[-1], detail)  # the whole is under provenance
