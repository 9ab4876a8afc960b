"""What a trainer's description of its lines understands of a log that you have."""

from __future__ import annotations

from pathlib import Path

from trainrelay.preflight.check_result import CheckResult, fix, ok
from trainrelay.text import quoted
from trainrelay.trainers import LineReader, LineSeen

_HEAD_BYTES = 4_000_000  # of a log: tens of thousands of lines
_SHOWN = 4


def sample_check(path: Path, reader: LineReader) -> CheckResult:
    """An example of each form of line that is understood, or the lines that are not."""
    try:
        with path.open("rb") as file:
            lines = file.read(_HEAD_BYTES).decode(errors="replace").replace("\r", "\n").split("\n")
    except OSError as error:
        return fix(
            f"sample_log {path}: {error.strerror or error}",
            "set script.sample_log to a log of such a training",
        )
    lines = [line for line in lines if line.strip()]
    seen = [(line, said) for line in lines if (said := reader.line(line))]
    if reader.slow:
        slow = quoted(reader.slow.most_common(1)[0][0])
        return fix(
            f"sample_log {path}: the pattern {slow} takes too long on a line",
            "repeat less within repetitions",
        )
    if not seen:
        first = " | ".join(f"`{quoted(line)[:100]}`" for line in lines[:_SHOWN]) or "nothing"
        return fix(
            f"sample_log {path}: no line is understood; it begins: {first}",
            "describe them in script.progress",
        )
    forms = {_form(said): (line, said) for line, said in reversed(seen)}
    shown = [f"`{quoted(line)[:100]}` is {_in_words(said)}" for line, said in reversed(forms.values())]
    return ok(f"sample_log {path}: {len(seen)} of {len(lines)} lines understood: {'; '.join(shown[:_SHOWN])}")


def _form(said: LineSeen) -> object:
    return said.iteration is None, *said.values, None, *said.evaluated


def _in_words(said: LineSeen) -> str:
    counts = {"epoch": said.epoch, "epochs": said.epochs, "iter": said.iteration, "iters": said.iters}
    evaluated = {f"{name} of an evaluation": value for name, value in said.evaluated.items()}
    found = {name: number for name, number in counts.items() if number is not None}
    return ", ".join(f"{name} {number:g}" for name, number in {**found, **said.values, **evaluated}.items())
