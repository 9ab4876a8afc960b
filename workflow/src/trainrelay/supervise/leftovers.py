"""What is in a work dir that holds nothing to resume from: which files and lines were not understood."""

from __future__ import annotations

import os
import re
from pathlib import Path

from trainrelay.checkpoint import glance
from trainrelay.records import AttemptRecord
from trainrelay.supervise.decide import Leftovers
from trainrelay.supervise.job import StageJob
from trainrelay.text import quoted
from trainrelay.trainers import Follower, Trainer, checkpoint_files
from trainrelay.training.attempts import attempt_log

_MOST = 3  # files, and lines of each kind: enough to recognise them, and one sentence
_ALONE = "holds weights without an epoch or an optimizer"
_LINE_CHARS = 120  # about a terminal's line
_HEAD_BYTES = 256 * 1024  # of the log: thousands of lines
_BANNER = re.compile(r"torch[./]distributed[./]run|^\*+$|^Setting OMP_NUM_THREADS")  # torch's own first lines


def leftovers(job: StageJob, record: AttemptRecord | None) -> Leftovers:
    """The files that were not understood, what was looked for, and the first lines of the log."""
    files = job.unrecognised()
    alone = [(path, _ALONE) for path in checkpoint_files(job.work_dirs.current) if _is_weights_alone(path)]
    files, unrecognised = [*files, *alone], bool(files)
    listed = ", ".join(
        f"{os.path.relpath(path, job.work_dirs.current)} ({quoted(why)})" for path, why in files[:_MOST]
    )
    more = f" and {len(files) - _MOST} more" if len(files) > _MOST else ""
    holds = f"{job.work_dirs.current} holds {listed or 'no file that looks like a checkpoint'}{more}"
    words = f"{holds}; looked for: {job.trainer.looked_for}"
    log = attempt_log(job.stage_dir, record) if record else None
    words = f"{words}; {_lines(job.trainer, log)}" if log and log.is_file() else words
    if remedy := next((how for path, _ in files if (how := glance(path).remedy)), None):
        words = f"{words}; {remedy} (and so with each)"
    return Leftovers(unrecognised, words, any_file=bool(files))


def _is_weights_alone(path: Path) -> bool:
    seen = glance(path)
    return seen.number is None and seen.problem is None


def _lines(trainer: Trainer, log: Path) -> str:
    """The first output lines that were and that were not understood."""
    with log.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode(errors="replace").replace("\r", "\n")
    understood: list[str] = []
    others: list[str] = []
    follower = Follower(trainer)
    for line in (line for line in head.split("\n") if line.strip() and not _BANNER.search(line)):
        (understood if follower.see(line) else others).append(quoted(line)[:_LINE_CHARS])
    return f"output understood: {_first(understood)}; not understood: {_first(others)}"


def _first(lines: list[str]) -> str:
    return " | ".join(f"`{line}`" for line in lines[:_MOST]) or "none"
