"""The tables of a stage: metrics, attempts and where its numbers come from; records in, rows out."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from trainrelay.analysis import grouped
from trainrelay.records import (
    Analysis,
    AttemptRecord,
    CheckpointFacts,
    MetricSummary,
    Phase,
    ProbeResult,
    SlurmRun,
    StageReport,
)
from trainrelay.report.formatting import file_size, utc
from trainrelay.text import count

PHASE_TITLES: dict[Phase, str] = {
    "train": "Training",
    "epoch": "Means of training epochs",
    "val": "Validation",
}


def steps_per_epoch(analysis: Analysis) -> int | None:
    """How many steps of the curves make an epoch; None where the log does not say."""
    if analysis.by_iteration:
        return None
    return 1 if analysis.epochs_only else analysis.progress.iters_per_epoch


def trained_s(analysis: Analysis) -> float | None:
    """About how long the iterations of a log took, by their median time; None where it tells none."""
    return analysis.step_s * analysis.iterations if analysis.step_s else None


def tables(analysis: Analysis) -> list[tuple[str, Mapping[str, MetricSummary], list[list[str]]]]:
    """A table per phase: its title, its metrics, and their names by group, those without one first."""
    return [
        (title, metrics, [list(chain(*groups[group].values())) for group in sorted(groups, key=bool)])
        for phase, title in PHASE_TITLES.items()
        if (metrics := analysis.metrics.get(phase, {})) and (groups := grouped(metrics))
    ]


def attempt_facts(attempt: AttemptRecord) -> Iterable[tuple[str, str]]:
    """Everything worth knowing of one start of the trainer, as rows."""
    resumed = attempt.resumed_from
    yield "started", utc(attempt.started_s)
    yield "ended", utc(attempt.ended_s) if attempt.ended_s is not None else "not yet, or not recorded"
    yield "host", attempt.host
    if attempt.slurm:
        yield "Slurm job", _slurm_job(attempt.slurm)
    yield "backend", f"{attempt.backend}, {count(attempt.world_size, 'rank')}"
    for probe in attempt.probes:
        yield f"probe of {probe.rung}", _probed(probe)
    nothing = f"nothing; it started at {attempt.unit} 1"
    where = f"{resumed.path} ({resumed})" if resumed else nothing
    if attempt.resumed_step and not attempt.not_resumed:
        where = f"{attempt.resumed_step.path}, {attempt.resumed_step}"
    yield "resumed from", where
    if attempt.exit_status is not None:
        yield "exit status", str(attempt.exit_status)
    if attempt.ended_s is not None:
        yield "last seen", last_seen(attempt) or "no iteration"
    if attempt.final_checkpoint:
        yield "final checkpoint", attempt.final_checkpoint.file.path
    if attempt.code:
        yield "trainer code", attempt.code
    yield "log", attempt.log


def _slurm_job(run: SlurmRun) -> str:
    requeued = f", requeued {count(run.restarts, 'time')}" if run.restarts else ""
    return f"{run.job_id} on {run.nodes}{requeued}"


def _probed(probe: ProbeResult) -> str:
    if probe.error is not None:
        return f"{probe.outcome}: {probe.error}"
    speeds = [f"{speed:.3g} GB/s ({size} MB)" for size, speed in sorted(probe.gb_per_s.items())]
    return f"{probe.outcome}, all_reduce at {', '.join(speeds)}" if speeds else probe.outcome


def command(attempt: AttemptRecord) -> str:
    """The command line of an attempt, ready to paste."""
    env = [f"{name}={shlex.quote(text)}" for name, text in attempt.env.items()]
    return " ".join([*env, shlex.join(attempt.argv)])


def provenance(stage: StageReport) -> Iterator[tuple[str, str]]:
    """What a stage was trained from and what came out, as rows."""
    if not stage.log_alone:
        yield "trainer config", stage.config
        yield "starts from", f"the checkpoint of {stage.init_from}" if stage.init_from else "no earlier stage"
    for initial in [one.initial for one in stage.attempts if one.initial][-1:]:
        yield "from the initial checkpoint", str(initial)
    if stage.train:
        yield "signature", stage.train.signature
        yield "log files", "\n".join(stage.train.log_files) or "none"
        yield from _checkpoint("final checkpoint", stage.train.final_checkpoint)
    if stage.checkpoint and stage.checkpoint.target:
        yield "promoted to", stage.checkpoint.target
    if stage.analysis:
        read = ", ".join(stage.analysis.sources) or "no file"
        segments = count(stage.analysis.segments, "segment")
        yield "analysis read", f"{read} ({stage.analysis.format}, {segments})"


def _checkpoint(name: str, found: CheckpointFacts) -> Iterator[tuple[str, str]]:
    yield name, found.file.path
    yield "sha256", found.file.sha256
    finite = "all finite" if found.finite else "NOT all finite"
    if found.constant_infinity:
        finite += f" (but for what seems constant, as in {found.constant_infinity})"
    size = f"{file_size(found.file.size)}, {found.tensors} tensors, {found.parameters:,} parameters, {finite}"
    yield "content", size


def last_seen(attempt: AttemptRecord) -> str:
    """The last place that was seen of an attempt, or nothing."""
    if attempt.last_epoch is None:
        return ""
    if attempt.unit == "iteration":
        return f"iteration {attempt.last_iteration}"
    iteration = f", iter {attempt.last_iteration}" if attempt.last_iteration is not None else ""
    return f"epoch {attempt.last_epoch}{iteration}"
