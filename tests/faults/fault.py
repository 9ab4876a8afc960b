"""What a fault is, and what is known once it was played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = Callable[[Any], "Measurement"]  # of a Bench, or on the rig of a SlurmBench


@dataclass(frozen=True)
class Measurement:
    """What a row measured itself; it has raised AssertionError if that is not as required.

    `noticed_after_s`: from the injection to the supervisor's noting its consequence. `next_step`: what the
    supervisor did then. `result`: the stage's state when the row was over.
    """

    noticed_after_s: float
    ended_as: str
    next_step: str
    result: str


@dataclass(frozen=True)
class Fault:
    """One row. `must`: what the stage has to end as; `quick`: played by `make test`, too; `on_rig`: played on
    a real Slurm.
    """

    name: str
    what: str
    injected: str
    must: str
    quick: bool
    row: Row
    on_rig: bool = False


@dataclass(frozen=True)
class FaultResult:
    """One line of results.json. `missed`: why it is not as required; None if it is.

    The figures are None if a miss kept them from being measured.
    """

    name: str
    what: str
    injected: str
    must: str
    noticed_after_s: float | None
    ended_as: str | None
    next_step: str | None
    redone_iterations: int | None
    checkpoint_interval: int | None  # in iterations
    processes_left: int | None
    result: str | None
    took_s: float
    machine: str
    missed: str | None


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, what: str, *, injected: str, must: str, quick: bool = False, on_rig: bool = False
) -> Callable[[Row], Row]:
    """Makes a function of a Bench, on the rig of a SlurmBench, a row of the table, in the order of import."""

    def register(row: Row) -> Row:
        assert name not in FAULTS, f"two faults are called {name}"
        FAULTS[name] = Fault(name, what, injected, must, quick, row, on_rig)
        return row

    return register
