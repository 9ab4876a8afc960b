"""Tables: CSV below a line of names (Lightning's metrics.csv), an object a line (JSON, or the dicts that
Hugging Face's Trainer prints), and the list of such objects in its trainer_state.json.

A table that counts iterations over the whole run is read by them; all others by epochs, as described_lines
does. Lightning writes a row for each group of metrics of an iteration; they are put together again.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise

from trainrelay.analysis.readers.clean import json_object, json_objects, metric_name, whole
from trainrelay.analysis.readers.console import Tracebacks
from trainrelay.analysis.readers.described_lines import DescribedLines
from trainrelay.analysis.readers.events import Event, Format, LineSkipped, ProcessStarted, RowSeen, SetupSeen
from trainrelay.progress_lines.described import (
    HISTORY,
    RowReader,
    as_number,
    column,
    column_names,
    row_object,
)
from trainrelay.progress_lines.names import trained_and_evaluated
from trainrelay.progress_lines.trainer_rows import BAR, CLOCKS, SUMMARY

Numbers = Mapping[str, float]
_Said = dict[str, float] | Event

_HISTORY = re.compile(r'\{\s*"[^"]{1,200}":\s*\[')
_METRIC = re.compile(r"loss|acc|reward|_rew_|return|perplexity|error|mAP|iou|f1|score|^value$", re.IGNORECASE)
_COLUMN = re.compile(r"[A-Za-z_](?:[\w./@()%-]|:(?=\d))*(?: [\w./@()%-]+){0,3}")
_RATE = re.compile(r"learning_rate|lr-[A-Za-z]\w*")  # of Hugging Face and Lightning
_MOST = 10**12  # iterations; more, or no number, are a mistake
_COUNTS = {"epoch", "epochs", "iter", "iters", "percentage"}
_COPIES = 8  # rows by which a process may lag behind another


class TableRows(Format):
    """The format of tables of CSV and JSON Lines."""

    name = "rows"
    title = "CSV and JSON Lines"

    def claims(self, line: str) -> bool:
        """A line that names a count (epoch, step, ..) and a metric: columns of CSV, or an object's keys."""
        if (found := row_object(next(_epochs(line)))) is not None:
            names = [name for name, value in found.items() if as_number(value) is not None]
        else:
            names = column_names(line)
            names = names if len(names) > 1 and all(map(_COLUMN.fullmatch, names[not names[0] :])) else []
        counts = not {"epoch", "iter"}.isdisjoint(map(column, names)) or set(names) >= HISTORY
        return counts and any(map(_METRIC.search, names))

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """All of a file at once: only the whole of it tells what its iterations count."""
        reader, errors = RowReader(), Tracebacks()
        said = list[_Said]()
        bars, length, most = dict[int, int](), 0, 0  # of each length the newest; the newest one's; training's
        for line in chain.from_iterable(map(_epochs, lines)):
            if bar := BAR.match(line):
                length = int(bar[2])
                bars[length] = int(bar[1])
            elif numbers := reader.numbers(line):
                if _is_of_training(numbers):
                    most = length  # an evaluation's bar comes before its own numbers
                at = bars.get(most, 0)
                said.append({"iter": at, "iters": most, **numbers} if at else numbers)
            else:
                said += errors.line(line.rstrip())
        said = [*_without_copies(said)]
        rows = [one for one in said if isinstance(one, dict)]
        counts = [row.get("iter") for row in rows if _is_of_training(row)]
        # Nothing counts them: there is no bar, or they came later than it, in bulk.
        if any(row.get("epoch", 0) % 1 for row in rows) and (
            {*counts} <= {None} or 2 * len({*counts}) <= len(counts)
        ):
            yield from _number(rows, most if bars.get(most) == most and len({*counts}) > 1 else 0)
        if not any({"epoch", "iter"} & row.keys() for row in rows):
            for number, row in enumerate(rows, 1):  # Keras's history
                row["epoch"] = number
        if _counts_on(rows):
            lengths = (row.get("iters", 0) for row in rows)
            most = int(max((length for length in lengths if length < _MOST), default=0))
            yield from by_iteration(said, most if most >= max(row.get("iter", 0) for row in rows) else None)
        else:
            seen = (reader.line(json.dumps(one)) if isinstance(one, dict) else one for one in said)
            yield from DescribedLines(RowReader, None, one_start=False).told(seen)


class TrainerState(Format):
    """The format of Hugging Face's trainer_state.json."""

    name = "huggingface-json"
    title = "Hugging Face trainer_state.json"

    def claims(self, line: str) -> bool:
        """The key of the list of rows."""
        return '"log_history":' in line

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """A row for each object of the list."""
        text = whole(lines)
        state = json_object(text) or {}
        history = state.get("log_history")
        if not isinstance(history, list):
            yield LineSkipped()  # a file that was cut has the rows before
            history = json_objects(text.partition('"log_history":')[2])
        reader, most = RowReader(), state.get("max_steps")
        rows = [reader.numbers(json.dumps(one)) for one in history if isinstance(one, dict)]
        yield from by_iteration(rows, most if isinstance(most, int) and most > 0 else None)


def _epochs(line: str) -> Iterator[str]:
    """The line; of Keras's history, which has a list for each metric, a row for each epoch."""
    found = json_object(line) if _HISTORY.match(line) else None
    columns = list(found.values()) if found else []
    lengths = {len(one) if isinstance(one, list) else 0 for one in columns}
    if len(lengths) != 1 or 0 in lengths or not any(name.endswith("loss") for name in found or ()):
        yield line
        return
    for number, row in enumerate(zip(*columns, strict=True), 1):
        yield json.dumps({**dict(zip(found or (), row, strict=True)), "epoch": number})


def _without_copies(said: Iterable[_Said]) -> Iterator[_Said]:
    """Without those of nodes that lag behind, which print the same numbers. Where others follow from there, a
    start went back, or where an error came before."""
    before, late = deque[Numbers](maxlen=_COPIES), list[_Said]()
    for one in said:
        if not isinstance(one, dict):
            before.clear()
        else:
            bare = {name: value for name, value in one.items() if name not in ("iter", "iters")}
            newest: Numbers = before[-1] if before else {}
            back = SUMMARY in newest or bare.get("epoch", 0) < newest.get("epoch", 0)
            if back and bare in before:
                late.append(one)
                continue
            late = late if back else []
            before.append(bare)
        yield from (*late, one)
        late = []


def _is_of_training(row: Numbers) -> bool:
    return SUMMARY not in row and bool(trained_and_evaluated(row)[0].keys() - _COUNTS)


def _number(rows: Sequence[dict[str, float]], most: int) -> Iterator[SetupSeen]:
    """By their epochs where all `most` iterations were done and no two of training share one; else one after
    the other, from the same epoch again where a start went back, from 1 after the end of a training. The
    setup has that, then, and the newest epoch, which nothing else shows."""
    total = max(row.get("epoch", 0) for row in rows)
    places = [row.get("epoch", 0) for row in rows if _is_of_training(row)]
    exact = most if len(set(places)) == len(places) else 0
    epochs, ended = list[float](), False
    for row in rows:
        epoch = row.get("epoch", 0)
        if epochs and epoch < epochs[-1]:
            epochs = [] if ended else [one for one in epochs if one < epoch]
            ended = False
        if _is_of_training(row) or epoch not in epochs[-1:]:  # an evaluation is of the line before
            epochs.append(epoch)
        ended |= SUMMARY in row
        row |= {"iter": round(epoch / total * exact) if exact else len(epochs), "iters": exact}
    if not exact:
        of_all = len(epochs) if ended else 0
        for row in rows:
            row["iters"] = of_all
        text = (
            f"are not told, so each line counts as one; the last one is of epoch {rows[-1].get('epoch', 0):g}"
        )
        yield SetupSeen({"iterations": text})


def _counts_on(rows: Iterable[Numbers]) -> bool:
    """Whether iterations are counted, and do not begin again where a new epoch does."""
    counted = [(row.get("epoch", 0), row["iter"]) for row in rows if "iter" in row]
    falls = any(after[0] > before[0] and after[1] < before[1] for before, after in pairwise(counted))
    return bool(counted) and not falls


def by_iteration(rows: Iterable[Numbers | Event], most: int | None) -> Iterator[Event]:
    """Rows of training and of evaluation, the rows of one iteration as one; other events in their place."""
    table, said = list[tuple[int, Numbers]](), defaultdict[int, list[Event]](list)
    for row in rows:
        if not isinstance(row, Mapping):
            said[len(table)].append(row)
        elif 0 <= row.get("iter", -1) < _MOST and SUMMARY not in row:
            table.append((int(row["iter"]), row))
    shift = int(any(at == 0 for at, _ in table))  # the first of them is counted as 0
    stepwise = {name.removesuffix("_step") for _, row in table for name in row if name.endswith("_step")}
    last, trained, evaluated = 0, dict[str, float](), dict[str, float]()
    events = list[Event]()
    for number, (at, row) in enumerate([*((at + shift, row) for at, row in table), (0, dict[str, float]())]):
        events += said[number]
        if at != last:
            for phase, values in (("train", trained), ("val", evaluated)):
                if values:
                    yield RowSeen(1, last, phase, values, None, max_iters=most, by_iteration=True)  # type: ignore[arg-type]
            yield from events
            trained, evaluated, events = {}, {}, []
            yield from [ProcessStarted()] if 0 < at < last else []
        last = at
        for found, into in zip(
            trained_and_evaluated(_metrics(row, stepwise)), (trained, evaluated), strict=True
        ):
            into.update(found)
    yield from events


def _metrics(row: Numbers, stepwise: set[str]) -> dict[str, float]:
    """Without counts, and without Lightning's means of an epoch where it logs each step as well."""
    named = {"lr" if _RATE.fullmatch(name) else name: value for name, value in row.items()}
    return {
        metric_name(name.removesuffix("_step").removesuffix("_epoch")): value
        for name, value in named.items()
        if name not in _COUNTS
        and not name.endswith(CLOCKS)
        and not (name.endswith("_epoch") and name.removesuffix("_epoch") in stepwise)
    }
