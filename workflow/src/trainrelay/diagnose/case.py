"""What a check looks at: a log, what the workflow expects of it, and what is known of its metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from trainrelay.diagnose.knowledge import BOOKKEEPING, Knowledge, Meaning
from trainrelay.records import Expectation, Finding, Log, Row

TOTALS = ("loss", "total_loss", "train_loss")


@dataclass(frozen=True)
class Case:
    """Immutable; what is computed from it is kept."""

    log: Log
    expectation: Expectation
    knowledge: Knowledge

    @cached_property
    def train(self) -> tuple[Row, ...]:
        """The training rows in order."""
        return tuple(row for row in self.log.rows if row.phase == "train")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every training metric, in the order of first appearance."""
        return tuple(self.log.metrics("train"))

    @cached_property
    def total(self) -> str | None:
        """The metric that is the total loss."""
        return next((name for name in TOTALS if name in self.names), None)

    @cached_property
    def meanings(self) -> dict[str, Meaning]:
        """What each component means; total, learning rates and bookkeeping are left out."""
        left_out = BOOKKEEPING | {self.total or "loss"}
        return {
            name: self.knowledge.of(name)
            for name in self.names
            if name not in left_out and name != "lr" and not name.startswith("lr_")
        }

    @cached_property
    def losses(self) -> tuple[str, ...]:
        """What is trained on: the total and each component that is a loss."""
        total = (self.total,) if self.total else ()
        return total + tuple(name for name, meaning in self.meanings.items() if meaning.loss)

    @cached_property
    def stage_one(self) -> bool:
        """Whether only tracks and map are trained (UniAD's first stage)."""
        return not any(name.startswith("motion.") for name in self.names)

    @cached_property
    def epochs(self) -> int | None:
        """How many epochs there shall be: by the workflow, else by the log."""
        return self.expectation.epochs or self.log.max_epochs

    def points(self, metric: str) -> list[tuple[Row, float]]:
        """The rows that have a metric, and its value there."""
        return [(row, row.values[metric]) for row in self.train if metric in row.values]

    def values(self, metric: str) -> list[float]:
        """One training metric in order."""
        return [row.values[metric] for row in self.train if metric in row.values]

    @cached_property
    def by_iteration(self) -> bool:
        """Whether the trainer counts iterations and no epochs."""
        return self.log.max_epochs == 1 and all(row.step == row.iteration for row in self.train)

    def where(self, row: Row) -> str:
        """The place of a row, in words."""
        return f"iter {row.iteration}" if self.by_iteration else f"epoch {row.epoch}, iter {row.iteration}"


Check = Callable[[Case], Iterator[Finding]]
