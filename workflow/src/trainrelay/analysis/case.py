"""What a check looks at: a log as columns, what the workflow expects of it, what is known of its metrics, and
how far it came."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from itertools import compress, groupby
from operator import attrgetter
from statistics import median
from typing import Any, Concatenate, ParamSpec, TypeVar

from trainrelay.analysis.knowledge import best_for, of_format
from trainrelay.analysis.knowledge.model import Knowledge, Meaning, matching
from trainrelay.analysis.naming import (
    SUM,
    UNSCALED,
    earlier_layers,
    is_component,
    is_loss,
    layered,
    split,
    total_of,
    without_twins,
)
from trainrelay.analysis.numbers import finite
from trainrelay.analysis.readers.segments import SURVIVED
from trainrelay.records import Expectation, Finding, Log, Marker, Phase, Progress, Row

TRAINING: tuple[Phase, ...] = ("train", "epoch")
_TIMED = ("mmcv-", "mmengine-", "metriclogger-")  # in these formats `time` is seconds per iteration
_EPOCH_OF = attrgetter("epoch")
NOT_THE_ROWS: Mapping[Phase, str] = {"val": " (validation)", "epoch": " (mean)"}

Means = list[tuple[int, float]]  # epoch, value
_P = ParamSpec("_P")
_T = TypeVar("_T")


def kept(question: Callable[Concatenate[Case, _P], _T]) -> Callable[Concatenate[Case, _P], _T]:
    """What several checks ask of a case: it is answered once."""

    @wraps(question)
    def answer(case: Case, /, *args: _P.args, **named: _P.kwargs) -> _T:
        key = (question, *args)
        if key not in case.answers:
            case.answers[key] = question(case, *args, **named)
        found: _T = case.answers[key]
        return found

    return answer


@dataclass(frozen=True, slots=True)
class Family:
    """Components that are averaged over frames and decoder layers; `values` are their means by row."""

    meaning: Meaning
    members: tuple[str, ...]
    values: list[float]

    @property
    def metric(self) -> str:
        """The one member's name, or the family's pattern."""
        return self.members[0] if len(self.members) == 1 else self.meaning.family


@dataclass(frozen=True)
class Column:
    """The values of a metric in one phase, in order, each with its row."""

    rows: list[Row] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @cached_property
    def finite(self) -> list[float]:
        """The values that are neither NaN nor infinite."""
        return self.values if all(map(math.isfinite, self.values)) else finite(self.values)

    @property
    def bad(self) -> list[tuple[Row, float]]:
        """The others, with their rows."""
        if self.finite is self.values:
            return []
        points = zip(self.rows, self.values, strict=True)
        return [(row, value) for row, value in points if not math.isfinite(value)]


@dataclass
class Case:
    """One log to judge; what is computed from it is kept."""

    log: Log
    expectation: Expectation
    failed: bool = False  # a check before has found what is critical: nothing is praised any more
    answers: dict[Any, Any] = field(default_factory=dict, init=False)  # of questions that are `kept`

    @cached_property
    def knowledge(self) -> Knowledge:
        """What is known of the model by its metrics and arguments, and of the format."""
        names = (*self.names, *(f"config.{name}" for name in self.log.config))
        return best_for(names).over(of_format(self.log.format))

    @cached_property
    def train(self) -> tuple[Row, ...]:
        """The training rows in order."""
        return self.rows("train")

    def rows(self, phase: Phase) -> tuple[Row, ...]:
        """The rows of a phase in order."""
        return self._by_phase.get(phase, ())

    @cached_property
    def _by_phase(self) -> Mapping[Phase, tuple[Row, ...]]:
        found: dict[Phase, list[Row]] = {}
        for row in _with_total(self.log.rows):
            found.setdefault(row.phase, []).append(row)
        return {phase: tuple(rows) for phase, rows in found.items()}

    @cached_property
    def columns(self) -> Mapping[Phase, Mapping[str, Column]]:
        """Every metric of each phase, in the order of first appearance; rows of equal names in one go."""
        found: dict[Phase, dict[str, Column]] = {"train": {}, "val": {}, "epoch": {}}
        for phase, rows in self._by_phase.items():
            for names, alike in groupby(rows, key=lambda row: tuple(row.values)):
                block = list(alike)
                columns = zip(*(row.values.values() for row in block), strict=True)
                for name, values in zip(names, columns, strict=True):
                    column = found[phase].setdefault(name, Column())
                    column.rows.extend(block)
                    column.values.extend(values)
        return found

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every training metric, in the order of first appearance."""
        return tuple(self.columns["train"])

    @cached_property
    def twins(self) -> frozenset[str]:
        """The metrics, of every phase, that repeat another one before its coefficient."""
        found = {name for columns in self.columns.values() for name in columns}
        return frozenset(found.difference(without_twins(found)))

    @cached_property
    def total(self) -> str | None:
        """The metric that is the total loss."""
        there = [*self.names, *self.columns["epoch"]]
        return self.knowledge.total if self.knowledge.total in there else total_of(there)

    @cached_property
    def meanings(self) -> dict[str, Meaning]:
        """What each component means; total, learning rates, bookkeeping and unscaled twins are left out."""
        return {
            name: self.meaning(name)
            for name in self.names
            if is_component(name, self.total) and name not in self.twins
        }

    @kept
    def meaning(self, name: str) -> Meaning:
        """What a metric means; earlier decoder layers of an unknown model are one family."""
        known = self.knowledge.known(name)
        if known is not None:
            return known
        family = earlier_layers(name, self.columns["train"])
        label = {"family": family, "label": f"{split(name).base}, earlier layers"} if family else {}
        return self.knowledge.of(name).model_copy(update=label)

    @cached_property
    def families(self) -> list[Family]:
        """The families of the training metrics, by first appearance; those of earlier layers last,
        so that they do not hide the layer that counts."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, meaning in self.meanings.items():
            found.setdefault((meaning.group, meaning.family), []).append(name)
        families = (
            Family(self.meanings[names[0]], tuple(names), self.row_means(tuple(names)))
            for names in found.values()
        )
        return sorted(families, key=self.of_earlier_layers)

    def of_earlier_layers(self, family: Family) -> bool:
        """Whether its last layer has its own family, which has all that they share."""
        base = split(family.members[0]).base
        return base in self.layered and base not in family.members

    @cached_property
    def losses(self) -> tuple[str, ...]:
        """What is trained on: the total and each component that is a loss."""
        total = (self.total,) if self.total else ()
        return total + tuple(name for name, meaning in self.meanings.items() if meaning.loss)

    @cached_property
    def layered(self) -> Mapping[str, tuple[str, ...]]:
        """The losses that are logged per decoder layer, by base, the last layer at the end."""
        return layered(self.names)

    @cached_property
    def term_names(self) -> frozenset[str]:
        """The scaled terms whose sum is the total, of every phase, by DETR's and mmdet's rule of names."""
        every = (name for columns in self.columns.values() for name in columns if is_loss(name))
        return frozenset(name for name in every if name != self.total and not name.endswith(UNSCALED))

    def terms(self, row: Row) -> dict[str, float]:
        """Those of a row."""
        terms = self.are_terms(tuple(row.values))
        return dict(zip(compress(row.values, terms), compress(row.values.values(), terms), strict=True))

    @kept
    def are_terms(self, names: tuple[str, ...]) -> list[bool]:
        """Which metrics of a row are; those of many rows are the same."""
        return [name in self.term_names for name in names]

    @cached_property
    def stage_one(self) -> bool:
        """Whether only tracks and map are trained (UniAD's first stage)."""
        return not any(matching(self.knowledge.stage_two, name) for name in self.names)

    def zero(self, meaning: Meaning) -> str:
        """What an exact zero of a metric means here: never, often or by design."""
        if meaning.zero == "stage 1":
            return "by design" if self.stage_one else "never"
        if meaning.zero == "switch":
            return "never" if self.log.config.get(meaning.switch) else "by design"
        return "by design" if meaning.zero == "always" else meaning.zero

    @cached_property
    def last_error(self) -> Marker | None:
        """The error that ended the last segment; one after which training continued was survived."""
        errors = [m for m in self.log.markers if m.kind == "error" and m.segment == self.log.segments - 1]
        last = errors[-1] if errors else None
        if last is None or last.epoch is None:
            return last
        place = (last.epoch, last.iteration or 0)
        later = [row for row in self.train[-SURVIVED:] if (row.epoch, row.iteration) > place]
        return None if len(later) == SURVIVED else last

    @cached_property
    def epochs(self) -> int | None:
        """How many epochs there shall be: by the workflow, else by the log."""
        return self.expectation.epochs or self.log.max_epochs

    def column(self, metric: str, phase: Phase = "train") -> Column:
        """A metric of a phase; an empty one if it is not there."""
        return self.columns[phase].get(metric) or Column()

    def points(self, metric: str, phase: Phase = "train") -> list[tuple[Row, float]]:
        """The rows of a phase that have a metric, and its value there."""
        column = self.column(metric, phase)
        return list(zip(column.rows, column.values, strict=True))

    def non_finite(self, *metrics: str) -> str:
        """How many training values and epoch means of these are NaN or Inf, as the end of a sentence."""
        columns = [self.column(metric, phase) for metric in metrics for phase in TRAINING]
        bad = sum(len(column.bad) for column in columns)
        return f"; {bad} logged value{'s are' if bad > 1 else ' is'} NaN or Inf" if bad else ""

    @kept
    def row_means(self, metrics: tuple[str, ...]) -> list[float]:
        """The mean over the finite ones of these at each training row that has any."""
        columns = [self.column(name) for name in metrics]
        if all(column.rows == columns[0].rows and column.finite is column.values for column in columns):
            size, every = len(columns), [column.values for column in columns]
            return every[0] if size == 1 else [total / size for total in map(sum, zip(*every, strict=True))]
        rows = (finite([row.values[name] for name in metrics if name in row.values]) for row in self.train)
        return [sum(row) / len(row) for row in rows if row]

    @kept
    def epoch_means(self, metric: str) -> Means:
        """A training metric by epoch: the means that the trainer prints, else those of an epoch's rows. Where
        epochs are not counted, of the rows up to each evaluation, and of those after the last one."""
        printed = {row.epoch: value for row, value in self.points(metric, "epoch")}
        if printed:
            return sorted(printed.items())
        column, logged = self.column(metric), defaultdict[int, list[float]](list)
        for at, value in zip(self._counted(column.rows), column.values, strict=True):
            logged[at].append(value)
        return [(at, sum(values) / len(values)) for at, values in sorted(logged.items())]

    def _counted(self, rows: Iterable[Row]) -> Iterator[int]:
        """The epoch of each training row; by iteration the step of the evaluation that follows it."""
        if not self.by_iteration:
            return map(_EPOCH_OF, rows)
        ends = sorted({*(row.step for row in self.rows("val")), max(row.step for row in self.train)})
        return (ends[bisect_left(ends, row.step)] for row in rows)

    def validation_means(self, metric: str) -> Means:
        """A validation metric by epoch (by step where epochs are not counted); the last one of an epoch."""
        found = {
            row.step if self.by_iteration else row.epoch: value for row, value in self.points(metric, "val")
        }
        return sorted(found.items())

    @property
    def step_s(self) -> float | None:
        """The median time of a step; None where the log does not say, or says another time."""
        known = self.log.format.startswith(_TIMED)
        times = [value for value in self.column("time").finite if value > 0] if known else []
        return median(times) if times else None

    @property
    def medians(self) -> bool:
        """Whether the training rows are medians of the last iterations."""
        return self.from_zero and not self.log.epochs_only

    @property
    def from_zero(self) -> bool:
        """Whether the trainer prints iterations from 0, as MetricLogger does."""
        return self.log.format.startswith("metriclogger")

    @property
    def points_to_judge(self) -> int:
        """With how many points a course can be judged: an epoch's mean weighs more than a line."""
        return 3 if self.log.epochs_only else 10

    def done(self, row: Row) -> int:
        """The iterations done in a training row's epoch."""
        return row.iteration + 1 if self.from_zero else row.iteration

    def coefficient(self, loss: str) -> tuple[str, float] | None:
        """The argument that scales a loss and its value, as the log's own config says."""
        name = self.knowledge.coefficients.get(split(loss).base, "")
        value = self.log.config.get(name)
        return (name, float(value)) if isinstance(value, int | float) and value is not True else None

    @cached_property
    def by_iteration(self) -> bool:
        """Whether the trainer counts iterations and no epochs."""
        return self.log.max_epochs == 1 and all(row.step == row.iteration for row in self.train)

    @property
    def unit(self) -> str:
        """What the trainer counts, as it is named before a number."""
        return "iter" if self.by_iteration else "epoch"

    def where(self, row: Row) -> str:
        """The place of a row, in words."""
        if self.by_iteration and row.phase == "train":
            return f"iter {row.iteration}"
        if self.log.epochs_only or row.phase != "train":
            place = f"{self.unit} {row.step if self.by_iteration else row.epoch}"
            return place + NOT_THE_ROWS.get(row.phase, "")
        return f"epoch {row.epoch}, iter {row.iteration}"

    @cached_property
    def came(self) -> Progress:
        """The last training row, or the mean of a later epoch, else what was validated or saved last."""
        length, epochs = self.log.iters_per_epoch, None if self.by_iteration else self.epochs
        if not self.train:
            saved = (m.epoch or 1 for m in self.log.markers if m.kind == "saved")
            known = epochs or 0 if self.expectation.finished else 0
            epoch = max((known, *saved, *(row.epoch for row in self.rows("val"))))
            finished = epochs is not None and epoch >= epochs
            return Progress(epoch, 0, length, epochs, min(1.0, epoch / epochs) if epochs else None, finished)
        last = max((self.train[-1], *self.rows("epoch")[-1:]), key=lambda row: row.epoch)
        finished = self.expectation.finished or self._finished(last)
        per_epoch = 1 if self.log.epochs_only else length
        planned = self.epochs * per_epoch if self.epochs and per_epoch else None
        step = max(row.step for row in (last, *self.rows("val")[-1:]))
        fraction = 1.0 if finished else min(1.0, step / planned) if planned else None
        iteration = last.iteration if last.phase == "train" else max(0, (length or 1) - 1)
        iteration = step if self.by_iteration else iteration
        return Progress(last.epoch, iteration, length, epochs, fraction, finished)

    def _finished(self, last: Row) -> bool:
        """The last epoch was saved, evaluated, or its last line logged, or summed up where the trainer does.

        A trainer that saved the epoch before the last and then logged the last line of the last epoch,
        but did not say that it saves this one, was cut off between the two.
        """
        epochs, length = self.epochs, self.log.iters_per_epoch
        if epochs is None or last.epoch < epochs:
            return False
        saved = {m.epoch for m in self.log.markers if m.kind == "saved"}
        evaluated = [row.epoch for row in self.rows("val")]
        whole = self.from_zero or not evaluated or epochs in evaluated
        if epochs in saved or last.epoch > epochs or (whole and self.log.epochs_only):
            return True
        if self.from_zero:  # its mean or validation is there; its last line, in a log that never has either
            said = {row.epoch for row in self.log.rows if row.phase != "train"}
            return epochs in said if said else self.done(self.train[-1]) == length
        last_line = length is not None and last.iteration + (self.log.interval or 1) > length
        return last_line and epochs - 1 not in saved


def _with_total(rows: tuple[Row, ...]) -> Iterable[Row]:
    """With the sum of the losses, whatever their names, where the model that logs them is known to log no
    other total, and each of them is known."""
    names = without_twins(next((row.values for row in rows if row.phase == "train"), ()))
    known = best_for(names)
    if known.total != SUM:
        return rows
    losses = [name for name in names if is_component(name) and known.of(name).loss]
    if not losses or not all(map(known.known, losses)):
        return rows
    return (
        replace(row, values={**row.values, SUM: sum(row.values[name] for name in losses)})
        if row.values.keys() >= {*losses}
        else row
        for row in rows
    )


Check = Callable[[Case], Iterator[Finding]]
