"""Rows as columns of text that fit a width (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trainrelay.supervise import duration
from trainrelay.text import sparkline
from trainrelay.watching.row import StageRow

MOST_LOSSES = 40  # a character each: the sparkline at its widest
GAP_CHARS = 2  # between two columns
UNKNOWN = "-"

_LEAST_NAME_CHARS = 10  # some letters of the run and of the stage
# Labels whose reason is shown, and what comes before it where neither of them says it.
_REMARKED = {
    **dict.fromkeys(("queued", "stopped", "changed", "foreign", "refused", "unreadable", "orphaned"), ""),
    "silent": "its supervisor gives no sign of life; ",
    "suspended": "its supervisor process is suspended (SIGSTOP); ",
    "supervised": "its supervisor works, no trainer runs (probe, checks, report); ",
    "running?": "not known whether its supervisor lives; ",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A title and a text per row, `width` characters at most; numbers are aligned to the right."""

    title: str
    cells: tuple[str, ...]
    right: bool = False

    @property
    def width(self) -> int:
        """Of the widest cell, title included."""
        return max(map(len, (self.title, *self.cells)))


# Left out where the width does not do, the first one first; stage and state always stay.
_LEFT_OUT = ("it/s", "lost", "attempt", "backend", "last losses", "iteration", "loss", "ETA", "epoch")


def fitting_columns(rows: Sequence[StageRow], width_chars: int | None) -> list[Column]:
    """The columns that fit a width, None for any; at last the stage's name is cut."""
    columns = {
        title: Column(title, tuple(map(cell, rows)), title in _NUMBERS) for title, cell in _CELLS.items()
    }
    if width_chars is None:
        return list(columns.values())
    columns["stage"] = _cut(columns["stage"], width_chars // 3)
    for title in ("", *_LEFT_OUT):
        columns.pop(title, None)
        width = sum(column.width for column in columns.values()) + GAP_CHARS * (len(columns) - 1)
        too_wide, spark = width - width_chars, columns.get("last losses")
        if too_wide <= 0:
            return list(columns.values())
        if spark and (keep := spark.width - too_wide) >= len(spark.title):
            cells = tuple(_last(row.last_losses, keep) for row in rows)
            return list({**columns, spark.title: Column(spark.title, cells)}.values())
    return [_cut(columns["stage"], width_chars - columns["state"].width - GAP_CHARS), columns["state"]]


def _cut(names: Column, most_chars: int) -> Column:
    most_chars = max(_LEAST_NAME_CHARS, most_chars)
    return Column(names.title, tuple(_shortened(cell, most_chars) for cell in names.cells))


def _shortened(name: str, most_chars: int) -> str:
    """Both ends of a name that is too long: the run is at one, the stage at the other."""
    if len(name) <= most_chars:
        return name
    end = (most_chars - 1) // 2
    return f"{name[: most_chars - 1 - end]}…{name[-end:]}"


def _of(value: int | None, total: int | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value}/{total}" if total is not None else str(value)


def _state(row: StageRow) -> str:
    return row.state if row.silent_s is None else f"{row.state} {ago(row.silent_s)}"


def _backend(row: StageRow) -> str:
    if row.backend is None:
        return UNKNOWN
    return f"{row.backend} (fallback)" if row.backend_is_fallback_from else row.backend


# In the order of a line, from left to right.
_CELLS: dict[str, Callable[[StageRow], str]] = {
    "stage": lambda row: row.name,
    "state": _state,
    "epoch": lambda row: _of(row.epoch, row.epochs),
    "iteration": lambda row: _of(row.iteration, row.iterations_per_epoch),
    "loss": lambda row: UNKNOWN if row.loss is None else f"{row.loss:.4g}",
    "last losses": lambda row: _last(row.last_losses, MOST_LOSSES),
    "ETA": lambda row: UNKNOWN if row.eta_s is None else duration(row.eta_s),
    "it/s": lambda row: UNKNOWN if row.iterations_per_s is None else f"{row.iterations_per_s:.2f}",
    "backend": _backend,
    "attempt": lambda row: str(row.attempt_number or UNKNOWN),
    "lost": lambda row: f"{row.iterations_lost} it" if row.iterations_lost else UNKNOWN,
}
_NUMBERS = ("epoch", "iteration", "loss", "ETA", "it/s", "attempt", "lost")


def remarks(rows: Sequence[StageRow]) -> Iterator[str]:
    """One line per stage for what does not fit a column: the reason of its state, and the last event."""
    for row in rows:
        if row.state in _REMARKED or "; warning: " in row.reason:
            yield f"{row.name}: {_REMARKED.get(row.state, '')}{row.reason}"
        if row.backend_is_fallback_from and row.attempt_open:
            yield f"{row.name}: {row.backend} is a fallback from {row.backend_is_fallback_from}"
        if row.attempt_open and row.loss is None and row.counted:  # the log cannot be read
            yield f"{row.name}: {row.counted}"
        if row.attempt_open and row.initial:
            yield f"{row.name}: from the initial checkpoint: {row.initial}"
        yield from (f"{row.name}: {sentence}" for sentence in (*filter(None, [row.at_risk]), *row.bad_nodes))
        if row.last_event is not None and row.last_event_ago_s is not None:
            what, _, why = row.last_event.partition(": ")
            event = what if why and why in row.reason else row.last_event
            yield f"{row.name}, {ago(row.last_event_ago_s)} ago: {event}"


def ago(seconds: float) -> str:
    """`12 s`, `7 min`, `3 h`, `5 d`."""
    for size_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _last(losses: Sequence[float], most_chars: int) -> str:
    return sparkline(losses[-most_chars:] if most_chars > 0 else [])
