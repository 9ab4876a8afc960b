"""The progress line, field by field, with this log's own last line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from trainrelay.analysis.case import Case
from trainrelay.analysis.knowledge.model import PrintedField
from trainrelay.analysis.numbers import percent, text
from trainrelay.records import Explained, Row, Section

TITLE = "The progress line"
LONGEST_S = 1e12  # what a broken log may say is longer than a timedelta can be
UNITS = {"time": "s", "memory": "MB"}
ONLY_PRINTED = "not in this log's entries; only the lines on the console have it"
ALWAYS = {"epoch", "batch", "eta", "lr", "value"}  # every line has them, also where the table leaves them out


def progress_line(case: Case) -> Section:
    """The fields that this log's lines have, each with its value on the last one."""
    row = case.train[-1]
    fields = [field for field in case.knowledge.progress if _printed(case, field.key)]
    return Section(TITLE, _intro(case, row), tuple(_field(case, row, field) for field in fields))


def _printed(case: Case, key: str) -> bool:
    always = key in ALWAYS or (key == "loss" and not case.log.epochs_only)
    return always or key in case.names or (key == "test" and bool(case.rows("val")))


def _intro(case: Case, row: Row) -> str:
    if not case.knowledge.progress:
        shown = ", ".join(f"{name} {text(value)}" for name, value in row.values.items())
        return f"What its fields mean is not known here. The last one is of {case.where(row)}: {shown}"
    if case.log.epochs_only:
        return (
            f"This log has one entry per epoch and no lines between; its last one is of epoch {row.epoch},"
            " and its numbers are means over that epoch. While it trains, the trainer prints lines to the"
            " console, of which each begins like Epoch: [1]  [0/2882]  eta: ...  lr: ...; their fields are:"
        )
    return f"This log's last line begins with {_head(case, row)}"


def _head(case: Case, row: Row) -> str:
    length, lr = case.log.iters_per_epoch or "?", row.values.get("lr")
    rate = "" if lr is None else f"lr: {lr:.6f}" if case.from_zero else f"lr: {lr:.3e}"
    if case.from_zero:
        return f"Epoch: [{_printed_epoch(case, row)}]  [{row.iteration}/{length}]  eta: ...  {rate}"
    if case.by_iteration:
        return f"Iter [{row.iteration}/{length}]  {rate}"
    return f"Epoch [{row.epoch}][{row.iteration}/{length}]  {rate}"


def _printed_epoch(case: Case, row: Row) -> int:
    return row.epoch - 1 + _first_epoch(case)


def _first_epoch(case: Case) -> int:
    """The number of the first epoch in the headers, as the log proves it; else MetricLogger's own."""
    return 1 if case.log.setup.get("epochs count from") == "1" else 0


def _field(case: Case, row: Row, field: PrintedField) -> Explained:
    here = HERE[field.key](case, row) if field.key in HERE else _value(row, field.key)
    if case.log.epochs_only and not here:
        here = ONLY_PRINTED
    return Explained(_named(case, row, field), field.text, (("here", here),) if here else ())


def _named(case: Case, row: Row, field: PrintedField) -> str:
    """The field as this log prints it, if that is a number in brackets."""
    if case.log.epochs_only or field.key not in ("epoch", "batch"):
        return field.name
    if field.key == "batch":
        return f"[{row.iteration}/{case.log.iters_per_epoch or '?'}]"
    return f"[{_printed_epoch(case, row)}]" if case.from_zero else f"Epoch [{row.epoch}]"


def _value(row: Row, key: str) -> str:
    return f"{text(row.values[key])} {UNITS.get(key, '')}".rstrip() if key in row.values else ""


def _epoch(case: Case, row: Row) -> str:
    of = f" of {case.epochs}" if case.epochs else ""
    if case.log.epochs_only or not case.from_zero:
        return f"epoch {row.epoch}{of}"
    counts = "; this log counts from 1" if _first_epoch(case) else ""
    return f"epoch {row.epoch}{of}, printed as [{_printed_epoch(case, row)}]{counts}"


def _batch(case: Case, row: Row) -> str:
    length = case.log.iters_per_epoch
    if not length or case.log.epochs_only:
        return ""
    done = f"{case.done(row)} of {length} batches done ({percent(case.done(row) / length)} of the epoch)"
    return f"{done}{_images(case, length)}"


def _images(case: Case, length: int) -> str:
    """N = images / (batch size x ranks), the other way round."""
    size, ranks = case.log.config.get("batch_size"), _ranks(case)
    if not isinstance(size, int):
        return ""
    if ranks is None:
        return f"; {length} batches of {size} images are about {length * size} images on each rank"
    many = f" on {ranks} ranks" if ranks > 1 else ""
    return f"; {length} batches of {size} images{many} are about {length * size * ranks} images"


def _ranks(case: Case) -> int | None:
    known = case.log.setup.get("ranks") or str(case.log.config.get("world_size", ""))
    return int(known) if known.isdecimal() and int(known) > 0 else None


def _eta(case: Case, row: Row) -> str:
    length, step_s = case.log.iters_per_epoch, row.values.get("time")
    if length is None or not step_s or case.log.epochs_only or not 0 < step_s < 1e6:
        return ""
    left = length - case.done(row)
    what = "this epoch"
    if not case.from_zero and case.epochs and not case.by_iteration:
        left, what = left + max(0, case.epochs - row.epoch) * length, "the whole training"
    seconds = timedelta(seconds=int(min(max(0, left) * step_s, LONGEST_S)))
    return f"{max(0, left)} iterations of {what} left at {text(step_s)} s each are {seconds}"


def _data(_case: Case, row: Row) -> str:
    data, step = row.values.get("data_time"), row.values.get("time")
    if data is None:
        return ""
    share = f", {percent(data / step)} of the time of an iteration" if step else ""
    return f"{text(data)} s{share}"


def _medians(case: Case, row: Row) -> str:
    name = case.total
    if name is None or name not in row.values:
        return ""
    if not case.medians:
        of = f", the mean over epoch {row.epoch}" if case.log.epochs_only else ""
        return f"{name} {text(row.values[name])}{of}"
    means = [(epoch, value) for epoch, value in case.epoch_means(name) if case.rows("epoch")]
    mean = f"; the mean of epoch {means[-1][0]} is {text(means[-1][1])}" if means else ""
    return f"{name} {text(row.values[name])} on the last line, a median{mean}"


def _loss(case: Case, row: Row) -> str:
    return text(row.values[case.total]) if case.total in row.values and case.total else ""


def _tests(case: Case, _row: Row) -> str:
    last = case.rows("val")[-1]
    total = f", {case.total} {_loss(case, last)}" if case.total in last.values else ""
    return f"after epoch {last.epoch}{total}"


HERE: Mapping[str, Callable[[Case, Row], str]] = {
    "epoch": _epoch,
    "batch": _batch,
    "eta": _eta,
    "value": _medians,
    "loss": _loss,
    "data_time": _data,
    "test": _tests,
}
