"""What a check looks at: a log, what the workflow expects of it, and what is known of its metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from trainrelay.analysis.knowledge.model import Knowledge, Meaning
from trainrelay.analysis.naming import UNSCALED, earlier_layers, is_component, layered, split, without_twins
from trainrelay.records import Expectation, Finding, Log, Marker, Phase, Row

TOTALS = ("loss", "total_loss", "train_loss")
TRAINING: tuple[Phase, ...] = ("train", "epoch")
SURVIVED = 3  # rows after an error: other ranks may print one or two until they notice
NOT_THE_ROWS: Mapping[Phase, str] = {"val": " (validation)", "epoch": " (mean)"}

Means = list[tuple[int, float]]  # epoch, value


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
class Case:
    """Immutable; what is computed from it is kept."""

    log: Log
    expectation: Expectation
    knowledge: Knowledge
    failed: bool = False  # a check before has found what is critical: nothing is praised any more

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
        for row in self.log.rows:
            found.setdefault(row.phase, []).append(row)
        return {phase: tuple(rows) for phase, rows in found.items()}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every training metric, in the order of first appearance."""
        return tuple(self.log.metrics("train"))

    @cached_property
    def twins(self) -> frozenset[str]:
        """The metrics, of every phase, that repeat another one before its coefficient."""
        found = {name for phase in ("train", "epoch", "val") for name in self.log.metrics(phase)}
        return frozenset(found.difference(without_twins(found)))

    @cached_property
    def total(self) -> str | None:
        """The metric that is the total loss."""
        there = {*self.names, *self.log.metrics("epoch")}
        return next((name for name in TOTALS if name in there), None)

    @cached_property
    def meanings(self) -> dict[str, Meaning]:
        """What each component means; total, learning rates, bookkeeping and unscaled twins are left out."""
        return {
            name: self.meaning(name)
            for name in self.names
            if is_component(name, self.total) and name not in self.twins
        }

    def meaning(self, name: str) -> Meaning:
        """What a metric means; earlier decoder layers of an unknown model are one family."""
        known = self.knowledge.known(name)
        if known is not None:
            return known
        family = earlier_layers(name, self.names)
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
            Family(self.meanings[names[0]], tuple(names), self.row_means(names)) for names in found.values()
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

    def terms(self, row: Row) -> dict[str, float]:
        """The scaled terms whose sum is a row's total, by DETR's and mmdet's rule of names."""
        return {
            name: value
            for name, value in row.values.items()
            if "loss" in name and name != (self.total or "loss") and not name.endswith(UNSCALED)
        }

    @cached_property
    def stage_one(self) -> bool:
        """Whether only tracks and map are trained (UniAD's first stage)."""
        return not any(re.fullmatch(self.knowledge.stage_two, name) for name in self.names)

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

    def points(self, metric: str, phase: Phase = "train") -> list[tuple[Row, float]]:
        """The rows of a phase that have a metric, and its value there."""
        if (metric, phase) not in self._points:
            found = [(row, row.values[metric]) for row in self.rows(phase) if metric in row.values]
            self._points[metric, phase] = found
        return self._points[metric, phase]

    @cached_property
    def _points(self) -> dict[tuple[str, Phase], list[tuple[Row, float]]]:
        return {}

    def values(self, metric: str) -> list[float]:
        """One training metric in order."""
        return [row.values[metric] for row in self.train if metric in row.values]

    def non_finite(self, *metrics: str) -> str:
        """How many training values and epoch means of these are NaN or Inf, as the end of a sentence."""
        values = [v for m in metrics for phase in TRAINING for _, v in self.points(m, phase)]
        bad = sum(not math.isfinite(value) for value in values)
        return f"; {bad} logged value{'s are' if bad > 1 else ' is'} NaN or Inf" if bad else ""

    def row_means(self, metrics: Sequence[str]) -> list[float]:
        """The mean over the finite ones of these at each training row that has any."""
        rows = [[row.values[name] for name in metrics if name in row.values] for row in self.train]
        finite = [[value for value in row if math.isfinite(value)] for row in rows]
        return [sum(row) / len(row) for row in finite if row]

    def epoch_means(self, metric: str) -> Means:
        """A training metric by epoch: the means that the trainer prints, else those of an epoch's rows."""
        printed = {row.epoch: value for row, value in self.points(metric, "epoch")}
        if printed:
            return sorted(printed.items())
        logged: dict[int, list[float]] = {}
        for row, value in self.points(metric):
            logged.setdefault(row.epoch, []).append(value)
        return [(epoch, sum(values) / len(values)) for epoch, values in sorted(logged.items())]

    def validation_means(self, metric: str) -> Means:
        """A validation metric by epoch (by step where epochs are not counted); the last one of an epoch."""
        found = {
            row.step if self.by_iteration else row.epoch: value for row, value in self.points(metric, "val")
        }
        return sorted(found.items())

    @property
    def medians(self) -> bool:
        """Whether the training rows are medians of the last iterations."""
        return self.from_zero and not self.log.epochs_only

    @property
    def from_zero(self) -> bool:
        """Whether the trainer prints iterations from 0, as MetricLogger does."""
        return self.log.format.startswith("metriclogger")

    @property
    def says_resumed(self) -> bool:
        """Whether the trainer prints that it resumed, as mmcv and mmengine do."""
        return self.log.format.startswith(("mmcv", "mmengine"))

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

    def where(self, row: Row) -> str:
        """The place of a row, in words."""
        if self.by_iteration and row.phase == "train":
            return f"iter {row.iteration}"
        if self.log.epochs_only or row.phase != "train":
            place = f"iter {row.step}" if self.by_iteration else f"epoch {row.epoch}"
            return place + NOT_THE_ROWS.get(row.phase, "")
        return f"epoch {row.epoch}, iter {row.iteration}"


Check = Callable[[Case], Iterator[Finding]]
