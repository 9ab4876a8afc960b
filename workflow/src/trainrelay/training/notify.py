"""`notify` of site.yaml: a command hears what happened to a stage; whatever it does harms no training.

What there is to tell is read from the stage's records, so a restart misses nothing. At least once: if the
command does not exit 0, it is tried again when the stage is next trained or promoted.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from trainrelay.config import load_site, report_path
from trainrelay.errors import Diverged, Fenced, Interrupted, NoProgress, TrainrelayError, UserError
from trainrelay.records import ENDS, Event, Notice
from trainrelay.system.alive import not_trainers
from trainrelay.system.files import append, json_bytes, last_bytes, make_folder
from trainrelay.system.say import say
from trainrelay.text import printable_lines, quoted
from trainrelay.training import state
from trainrelay.training.context import StageContext

_DEADLINE_S = 20.0  # a mail or a web request takes few; the end of a training waits so long at most
_MOST_BYTES = 64 * 1024  # of the file: hundreds of lines
_BY_ERROR: Mapping[type[TrainrelayError], Event] = {Diverged: "diverged", NoProgress: "no progress"}
_one_at_a_time = threading.Lock()


def tell(at: StageContext, error: TrainrelayError | None = None) -> None:
    """Tells the command what it did not take yet; `error`: with which this start or promotion ends."""
    try:
        if argv := load_site().notify:
            with _one_at_a_time:
                # A requeue continues what was interrupted, and Slurm leaves it seconds.
                if isinstance(error, Interrupted | Fenced):
                    _note(_told(at)[0], type(error).__name__)
                else:
                    _tell(at, argv, error)
    except (OSError, TrainrelayError) as problem:
        say(f"warning: notify: {problem}")


def tell_of_failed_job(at: StageContext, since_s: float) -> None:
    """Tells of a job that failed after this time, unless it told that itself, or was to stop."""
    with suppress(OSError, TrainrelayError):  # of damaged records the job tells
        (path, told), last = _told(at), next(reversed(state.read(at).attempts), None)
        began = last if last and not last.decision else None
        # A word without a space is with what a start ended; an earlier job's says nothing of this attempt.
        ended_s = path.stat().st_mtime if told and " " not in told[-1] else 0.0
        itself = ended_s >= max(since_s, began.started_s if began else 0.0)
        if itself or (last and last.decision and (last.ended_s or 0) >= since_s):
            return
        what = f"attempt {began.number} was not seen to end" if began else "no attempt began"
        why = "out of memory, cancelled, or a setup line of site.yaml that failed?"
        seen = "see its log in .snakemake, on Slurm also sacct, then run the same snakemake command again"
        tell(at, UserError(f"{at.name}: its job failed, and {what} ({why}); {seen}"))


def _told(at: StageContext) -> tuple[Path, list[str]]:
    """The file that has a line for each event that was taken, and its last ones."""
    path = at.paths.supervision / "told"
    return path, last_bytes(path, _MOST_BYTES).decode(errors="replace").splitlines()


def _tell(at: StageContext, argv: Sequence[str], error: TrainrelayError | None) -> None:
    happened, attempt = list[tuple[str, Event, str]](), None
    path, told = _told(at)
    with suppress(TrainrelayError):  # where its records are damaged, `error` says so
        facts = state.read(at)
        attempt = facts.attempts[-1].number if facts.attempts else None
        happened = [one for one in _happened(facts) if one[0] not in told]
    known = hashlib.sha256(f"{attempt} {error}".encode(errors="replace")).hexdigest()
    if error and known in told:
        _note(path, known)  # with this its start ended, too
    elif error and not any(key.startswith("end ") for key, *_ in happened):
        happened.append((known, _BY_ERROR.get(type(error), "needs you"), str(error)))
    folder, report = (str(one.absolute()) for one in (at.paths.folder, report_path(at.config, at.run)))
    of_stage = partial(Notice, run=at.run, stage=at.stage, attempt=attempt, folder=folder, report=report)
    for key, event, text in happened:
        notice = of_stage(event=event, text=printable_lines(text), at_s=time.time())
        if why := _not_taken(argv, json_bytes(path, notice)):
            say(f"warning: notify: was not told of {at.name} ({event}): {why}")
        else:
            _note(path, key)


def _note(path: Path, key: str) -> None:
    make_folder(path.parent)
    append(path, key.encode())


def _happened(facts: state.Facts) -> Iterator[tuple[str, Event, str]]:
    """What the records of a stage tell now: by what it is known once told, what it is, and in words."""
    judged, last, done = state.judge(facts), facts.attempts[-1] if facts.attempts else None, facts.promoted
    if last and last.backend != (best := next(iter(last.ladder), last.backend)):
        why = "; ".join(f"{one.rung}: {one.error}" for one in last.probes if one.error)
        how = f"trains on {last.backend}, not on {best} ({why or 'see its log'})"
        yield f"{facts.attempts[0].tag} on {last.backend}", "fell back", how
    if last and last.end and judged.kind == "stopped":
        yield f"end {last.tag}", _BY_ERROR.get(ENDS[last.end].error, "needs you"), judged.reason
    if facts.train and judged.kind == "complete":
        yield f"complete {facts.train.final_checkpoint.file.sha256}", "complete", judged.reason
    if done:
        yield f"promoted {done.source.file.sha256}", "promoted", done.target or done.source.file.path


def _not_taken(argv: Sequence[str], notice: bytes) -> str | None:
    """Why the command did not take it; None: it did."""
    with tempfile.TemporaryFile() as said:  # what it starts may hold a pipe open indefinitely
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT) as process:
            not_trainers.add(process.pid)  # else it would be ended with a trainer that ends meanwhile
            try:
                process.communicate(notice, _DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                return f"it did not end within {_DEADLINE_S:g} s"
            finally:
                not_trainers.discard(process.pid)
        said.seek(0)
        text = quoted(said.read(_MOST_BYTES).decode(errors="replace"))
    return f"exit {process.returncode}: {text}" if process.returncode else None
