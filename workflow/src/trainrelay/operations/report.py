"""`trainrelay report`: what is known of a run as one HTML page, and of all runs as another."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import orjson

from trainrelay.analysis import analyze, from_json, read
from trainrelay.config import Config, overview_path, report_path
from trainrelay.errors import LogError, TrainrelayError, UserError
from trainrelay.operations.analyze import judge_stage, leave_out_wrong_knowledge
from trainrelay.records import Analysis, Overview, Progress, RunReport, StageReport, Training
from trainrelay.report import overview_html, run_html
from trainrelay.system.files import content, last_bytes, make_folder, read_once, reading, write_bytes
from trainrelay.system.say import say
from trainrelay.training import state
from trainrelay.training.archive import ArchivedTraining, archived_trainings
from trainrelay.training.attempts import attempt_log, list_attempts
from trainrelay.training.bad_nodes import of_run
from trainrelay.training.code_version import code_version
from trainrelay.training.context import StageContext
from trainrelay.training.plan import retrain_accepted
from trainrelay.training.retention import explained

_MOST_LINES, _MOST_BYTES = 20, 16384  # of the end of a log
_HEAD_BYTES = 200  # in which a page says that it is one


def write_reports(config: Config, *runs: str) -> None:
    """Write the reports of these runs, then the overview, and say where they are."""
    for run_name in runs:
        say(f"report: {write_report(config, run_name)}")
    say(f"overview: {write_overview(config)}")


def report_failed_start(at: StageContext, why: str) -> None:
    """Write the reports, with why a start failed before it trained, which nothing here may hide.

    A first start that was refused leaves no folder.
    """
    if not report_path(at.config, at.run).parent.is_dir():
        return
    with suppress(TrainrelayError, OSError):
        write_report(at.config, at.run, {at.stage: why})
        write_overview(at.config)


def write_report(config: Config, run_name: str, failed: dict[str, str] | None = None) -> Path:
    """Write report.html from the files of the run's stages; returns its path. `failed`: starts, by stage."""
    stages = _stages(config, run_name)
    written = RunReport(
        run=run_name,
        stages=tuple(replace(stage, failed_start=(failed or {}).get(stage.name, "")) for stage in stages),
        provenance={**_provenance(config, run_name), **_trainer(config, run_name)},
        overview=f"../{overview_path(config).name}" if len(config.runs) > 1 else None,
    )
    return _write(report_path(config, run_name), run_html(written))


def write_overview(config: Config) -> Path:
    """Write index.html from the files of every run's stages; returns its path."""
    runs = tuple(RunReport(run=name, stages=_stages(config, name), provenance={}) for name in config.runs)
    pages = overview_path(config).parent.glob(f"*/{report_path(config, next(iter(config.runs))).name}")
    others = tuple(sorted(page.parent.name for page in pages if page.parent.name not in config.runs))
    return _write(overview_path(config), overview_html(Overview(runs, _provenance(config), others)))


def write_page(path: Path, judged: Sequence[tuple[str, Analysis]]) -> Path:
    """Write the page of logs, of which nothing but what they say is known; returns its path."""
    stages = (
        StageReport(
            name,
            _state_of_log(one.progress),
            epochs=one.progress.epochs,
            iters=one.progress.iters_per_epoch if one.by_iteration else None,
            analysis=one,
        )
        for name, one in judged
    )
    made = {"written at": _now(), "trainrelay": version("trainrelay")}
    if path.exists():
        with reading(path) as file:
            if (head := file.read(_HEAD_BYTES)) and b"<html" not in head:
                raise UserError(f"{path} is no page, so it is not overwritten; name another file")
    title = judged[0][0] if len(judged) == 1 else f"{len(judged)} logs"
    return _write(path, run_html(RunReport(title, tuple(stages), made)))


def _state_of_log(came: Progress) -> str:
    """Whether the training has ended is not known."""
    return "complete" if came.finished else "not finished" if came.fraction is not None else "log"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _write(path: Path, page: str) -> Path:
    make_folder(path.parent)
    write_bytes(path, page.encode())
    return path


def _stages(config: Config, run_name: str) -> tuple[StageReport, ...]:
    leave_out_wrong_knowledge(config)
    return tuple(_stage(StageContext(config, run_name, stage)) for stage in config.in_order(run_name))


def _stage(at: StageContext) -> StageReport:
    settings = at.settings
    facts = state.read(at)
    judged, analysis = state.judge(facts), _analysis(facts)
    blocked = analysis and any(finding.blocking for finding in analysis.findings)
    return StageReport(
        name=at.stage,
        state=judged.kind,
        state_reason="; ".join(filter(None, [judged.reason, facts.at_risk(time.time()), explained(facts)])),
        epochs=settings.epochs,
        iters=settings.iters,
        config=settings.config,
        init_from=settings.init_from,
        resources=settings.resources.model_dump(exclude_none=True),
        ingredients=facts.identity.ingredients if facts.identity else facts.ingredients,
        attempts=facts.attempts,
        train=facts.train,
        checkpoint=facts.promoted,
        analysis=analysis,
        last_lines=_last_lines(facts) if facts.attempts else (),
        archived=tuple(map(_archived, archived_trainings(facts.paths))),
        links=_links(facts),
        bad_nodes=() if facts.train else tuple(of_run(at).values()),
        not_promoted="" if blocked or judged.kind != "complete" else state.refused_promotion(facts),
        acceptance=facts.accepted or (facts.may_retrain if retrain_accepted(facts) else None),
    )


def _archived(one: ArchivedTraining) -> Training:
    """As it was judged when it was current; else by its logs."""
    path, analysis = one.folder / "analysis.json", None
    try:
        logs = [attempt_log(one.folder, attempt) for attempt in list_attempts(one.folder)]
        analysis = _analysis_on_disk(path) if path.exists() else analyze(read(logs))
    except (UserError, OSError) as error:
        say(f"{one.folder} is not compared: {error}")
    return Training(one.folder.name, one.identity.ingredients, analysis)


def _links(facts: state.Facts) -> dict[str, str]:
    """What is there of log, work dir, checkpoints and analysis; no name in a path leads elsewhere."""
    folder, promoted = facts.paths.folder, facts.promoted and facts.promoted.target
    trained = [facts.train.final_checkpoint.file.path] if facts.train else []
    found: dict[str, Sequence[str | Path]] = {
        "log": [attempt_log(folder, attempt) for attempt in facts.attempts],
        "work dir": facts.work_dirs.all,
        "checkpoint": trained or [path for _, path in facts.checkpoints[:1]],
        "promoted": [promoted] if promoted else [],
        "analysis": [facts.paths.analysis_text],
    }
    there = {word: paths[-1] for word, paths in found.items() if paths and Path(paths[-1]).exists()}
    return {
        word: f"./{quote(os.fsencode(os.path.relpath(path, folder.parent)))}" for word, path in there.items()
    }


def _last_lines(facts: state.Facts) -> tuple[str, ...]:
    """The end of the newest log."""
    end = last_bytes(attempt_log(facts.paths.folder, facts.attempts[-1]), _MOST_BYTES)
    return tuple(end.decode(errors="replace").splitlines()[-_MOST_LINES:])


def _analysis(facts: state.Facts) -> Analysis | None:
    """As it was written at the end; of a training that still runs, or ended unseen, from its logs now."""
    path = facts.paths.analysis
    if path.exists() and not facts.alive:
        return _analysis_on_disk(path)
    try:
        return judge_stage(facts)
    except LogError:
        return None


def _analysis_on_disk(path: Path) -> Analysis:
    try:
        return from_json(orjson.loads(content(path)))
    except (OSError, ValueError, LogError) as error:
        raise UserError(
            f"{path} is damaged ({error}); run: rm {path}, then snakemake --profile local"
        ) from None


def _provenance(config: Config, run_name: str = "") -> dict[str, str]:
    """When a page was written, by what, and where the results are that it shows."""
    return {
        "written at": _now(),
        "trainrelay": version("trainrelay"),
        "snakemake": version("snakemake"),
        "python": platform.python_version(),
        "config": str(say.configfile or "config.yaml"),
        "results": os.path.abspath(Path(config.out) / run_name),  # noqa: PTH100 (normalises ..)
    }


def _trainer(config: Config, run_name: str) -> dict[str, str]:
    """Each stage's trainer, where they differ."""
    ats = [StageContext(config, run_name, stage) for stage in config.in_order(run_name)]
    said = {
        "trainer": [f"{at.trainer_settings.kind}, {at.root}" for at in ats],
        "trainer code": [read_once(code_version, at.root).name for at in ats],
        "trainer interpreter": [
            " ".join((*at.trainer_settings.prefix, at.trainer_settings.python)) for at in ats
        ],
    }
    return {key: "; ".join(dict.fromkeys(values)) for key, values in said.items()}
