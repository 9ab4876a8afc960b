"""What a trainer's description of its lines understands of a log that you have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from trainrelay.preflight.check_result import CheckResult, fix, note, ok
from trainrelay.text import did_you_mean, quoted
from trainrelay.trainers import LineReader, LineSeen

_HEAD_BYTES = 4_000_000  # of a log: tens of thousands of lines
_SHOWN, _LINE_CHARS = 4, 100
_LOSS = re.compile(r"loss\W{1,5}\d", re.IGNORECASE)


def sample_check(
    path: Path, reader: LineReader, patterns: Sequence[str] | None = None, best: Iterable[str] = ()
) -> CheckResult:
    """An example of each form of line that is understood, or the lines that are not; which of the patterns
    read none; the metrics of which the `best` is asked for and that are not there."""
    what = f"sample_log {path}"
    try:
        with path.open("rb") as file:
            text = file.read(_HEAD_BYTES).decode(errors="replace")
    except OSError as error:
        return fix(f"{what}: {error.strerror}", "set script.sample_log to a log of such a training")
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
    seen = [(line, said) for line in lines if reader.is_read(said := reader.line(line))]
    for slow in reader.slow:
        return fix(f"{what}: the pattern {quoted(slow)} takes too long on a line", "repeat less in it")
    if not seen:
        first = dict.fromkeys([*filter(_LOSS.search, lines), *lines])
        some = " | ".join(map(_short, [*first][:_SHOWN])) or "nothing"
        how = "let it print that, as a progress bar does, or describe lines that do in script.progress"
        return fix(f"{what}: no line tells where the training is; it has: {some}", how)
    forms = {(*said.values, None, *said.evaluated): (line, said) for line, said in reversed(seen)}
    shown = [f"{_short(line)} is {_in_words(said)}" for line, said in reversed(forms.values())]
    what += f": {len(seen)} of {len(lines)} lines tell its progress: {'; '.join(shown[:_SHOWN])}"
    evaluated = {name: None for _, said in seen for name in said.evaluated}
    ends = {*evaluated, *(name.rpartition("/")[2] for name in evaluated)}
    if missing := [name for name in best if name not in ends]:
        there = f"it has {', '.join(evaluated) or 'none'}{did_you_mean(missing[0], ends)}"
        return note(f"{what}; no evaluation in it has {missing[0]}, which checkpoint.best names; {there}")
    if not any(said.values for _, said in seen):
        return note(f"{what}; none has a number of the training, so NaN is not watched: describe such a line")
    idle = [quoted(one) for one in patterns or () if one not in reader.matched]
    return note(f"{what}; of script.progress these read no line: {', '.join(idle)}") if idle else ok(what)


def _short(line: str) -> str:
    return f"`{quoted(line)[:_LINE_CHARS]}`"


def _in_words(said: LineSeen) -> str:
    counts = {"epoch": said.epoch, "epochs": said.epochs, "iter": said.iteration, "iters": said.iters}
    evaluated = {f"{name} of an evaluation": value for name, value in said.evaluated.items()}
    found = {**counts, **said.values, **evaluated}.items()
    return ", ".join(f"{name} {number:g}" for name, number in found if number is not None)
