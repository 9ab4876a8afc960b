"""How well the analysis finds what was planted: which findings answer a fault, and where they must point."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labelled.drawn import HEALTHY, drawn
from labelled.families import DESCRIBED
from labelled.faults import FAULTS
from labelled.printing import printed
from labelled.training import Plant, Run
from trainrelay.analysis import DescribedLines, analyze, read
from trainrelay.progress_lines.console import ConsoleReader
from trainrelay.records import Analysis, Finding

BAR = 0.95
ALARMS = ("warning", "critical")
INTERVALS = 2  # lines by which the place of a sudden fault may be off
LATE = 0.05  # of all epochs, by which that of a slow one may; one epoch or evaluation at least

_EPOCH = re.compile(r"epoch (\d+)(?:, iter (\d+))?")
_ITERATION = re.compile(r"^iter (\d+)")


@dataclass(frozen=True)
class Answer:
    """The `checks` that find a fault (`also`: what their finding must show), its `place` (sudden, slow, or
    none is asked), and the checks that may alarm because of it."""

    checks: tuple[str, ...]
    place: str = ""
    follows: tuple[str, ...] = ()
    also: Callable[[Finding], bool] = lambda finding: finding.severity in ALARMS

    def given_by(self, finding: Finding) -> bool:
        return finding.check in self.checks and self.also(finding)


LOSSES = (
    "convergence",
    "plateau",
    "divergence",
    "spikes",
    "components",
    "balance",
    "auxiliary",
    "lost-term",
    "grad-norm",
    "non-finite",
    "validation",
    "validation-metric",
    "progress",
)
VALIDATION = ("validation", "validation-metric")


def _noted(_: Finding) -> bool:
    return True


def _all_clipped(finding: Finding) -> bool:
    return finding.evidence.get("clipped") == 1


ANSWERS: Mapping[str, Answer] = {
    "NaN": Answer(("non-finite", "lost-term", "progress"), "sudden", LOSSES),
    "explosion": Answer(("divergence", "spikes", "convergence"), "sudden", LOSSES),
    "spike": Answer(("spikes",), "sudden", ("grad-norm", "components", "convergence"), _noted),
    "total exactly 0": Answer(("lost-term",), "sudden", LOSSES),
    "hump": Answer(("convergence", "spikes"), "slow", LOSSES),
    "one term rises": Answer(("components", "auxiliary", "convergence", "divergence"), "slow", LOSSES),
    "flat": Answer(("convergence",), "", LOSSES),
    "validation does not move": Answer(VALIDATION),
    "validation falls behind": Answer(VALIDATION, "slow"),
    "metric is 0": Answer(("validation-metric",)),
    "learning rate not dropped": Answer(("learning-rate",), "sudden"),
    "learning rate back in warm-up": Answer(("learning-rate",), "sudden"),
    "every step clipped": Answer(("grad-norm",), "", (), _all_clipped),
    "steps slower": Answer(("step-time",), "sudden", (), _noted),
    "waits for data": Answer(("data-time",), "", ("step-time",), _noted),
    "memory grows": Answer(("memory",), "slow"),
    "infinity clamped": Answer(("clamped-infinity",), "sudden", LOSSES),
    "cross-entropy below zero": Answer(("negative-cross-entropy",), "", LOSSES),
    "total is not its sum": Answer(("sum-identity",), "sudden", LOSSES),
    "coefficient changes": Answer(("scaling",), "sudden", LOSSES),
    "one side is not learned": Answer(("balance",), "", LOSSES),
    "gradient explodes": Answer(("grad-norm",)),
    "gradient vanishes": Answer(("grad-norm",)),
    "part of the log missing": Answer(("gaps",), "", (), _noted),
    "begun again from zero": Answer(("resume",)),
    "weights do not fit": Answer(("partial-load",)),
    **{
        kind: Answer(("progress",), "sudden")
        for kind in ("NCCL time-out", "out of memory", "time limit", "CUDA error")
    },
}


@dataclass(frozen=True)
class Outcome:
    """What was said of one log. `found` and `placed`: its own fault; `answers`: the faults that it was said
    to have; `stray`: the checks that alarm for no reason."""

    name: str
    kind: str
    clear: bool
    found: bool
    placed: bool
    answers: frozenset[str]
    stray: tuple[str, ...]


def outcome(seed: int, kind: str, number: int, rows: int = 4000) -> Outcome:
    """Of a log that is drawn."""
    run = drawn(seed, kind, number, rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.log"
        path.write_text(printed(run), encoding="utf-8")
        return judged(run, analysis(path, run.format), f"{kind} {seed} {number}")


def analysis(path: Path, form: str) -> Analysis:
    """As `trainrelay analyze` makes it."""
    own = DescribedLines(ConsoleReader, 1, one_start=True) if form == DESCRIBED else None
    return analyze(read([path], own=own))


def judged(run: Run, said: Analysis, name: str) -> Outcome:
    """What an analysis says of a training, against what is true of it."""
    plant, alarms = run.plant, [one for one in said.findings if one.severity in ALARMS]
    allowed = {*ANSWERS[plant.kind].checks, *ANSWERS[plant.kind].follows} if plant else set()
    stray = tuple(sorted({one.check for one in alarms} - allowed))
    answers = frozenset(
        kind
        for kind, answer in ANSWERS.items()
        if FAULTS[kind][1](run) and any(map(answer.given_by, said.findings))
    )
    if plant is None:
        return Outcome(name, HEALTHY, True, False, False, answers, stray)
    own = ANSWERS[plant.kind]
    given = [one for one in said.findings if own.given_by(one)]
    placed = not own.place or any(_in_place(run, plant, one, own.place) for one in given)
    return Outcome(name, plant.kind, plant.clear, bool(given), bool(given) and placed, answers, stray)


def _in_place(run: Run, plant: Plant, finding: Finding, place: str) -> bool:
    row = _row(run, finding.where or "")
    if row is None:
        return False
    if place == "sudden":
        return abs(row - plant.row) <= INTERVALS
    epochs = list(run.evaluated)
    every = epochs[1] - epochs[0] if len(epochs) > 1 else 1
    begin, end = run.places[plant.row][0], run.places[plant.until or plant.row][0]
    off = max(1, every, round(LATE * run.epochs))
    return begin - off <= run.places[row][0] <= end + off


def _row(run: Run, where: str) -> int | None:
    """The row that a finding names: the last one that is not after it."""
    if match := _ITERATION.search(where):
        step = int(match[1])
    elif match := _EPOCH.search(where):
        step = int(match[1]) * run.length
        if match[2]:
            step += int(match[2]) - run.length + (run.format == "metriclogger-text")
    else:
        return None
    return max((row for row in range(run.rows) if run.step(row) <= step), default=0)


@dataclass(frozen=True)
class Score:
    """Of one kind of fault. Healthy logs count into precision that could have it; those with another fault
    where the same checks alarm without a reason are `elsewhere`."""

    kind: str
    clear: tuple[int, int]  # found, planted
    just: tuple[int, int]
    placed: int  # of all that were found
    false: int
    elsewhere: tuple[int, int] = (0, 0)  # of how many

    @property
    def found(self) -> int:
        return self.clear[0] + self.just[0]

    @property
    def recall(self) -> float:
        return self.placed / max(1, self.clear[1] + self.just[1])

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.false)

    @property
    def holds(self) -> bool:
        quiet = self.elsewhere[0] <= (1 - BAR) * self.elsewhere[1]
        return min(self.recall, self.precision) >= BAR and quiet


def scores(outcomes: Iterable[Outcome]) -> list[Score]:
    """One for each kind, in the order of ANSWERS."""
    every = list(outcomes)
    healthy = [one for one in every if one.kind == HEALTHY]
    found = []
    for kind in ANSWERS:
        own = [one for one in every if one.kind == kind]
        parts = [[one for one in own if one.clear is clear] for clear in (True, False)]
        counts = [(sum(one.found for one in part), len(part)) for part in parts]
        placed, false = sum(one.placed for one in own), sum(kind in one.answers for one in healthy)
        others = [one for one in every if one.kind not in (HEALTHY, kind)]
        elsewhere = sum(not set(ANSWERS[kind].checks).isdisjoint(one.stray) for one in others)
        found.append(Score(kind, counts[0], counts[1], placed, false, (elsewhere, len(others))))
    return found


def strays(outcomes: Iterable[Outcome]) -> Mapping[tuple[str, str], int]:
    """(kind of log, check) -> how many logs on which that check alarms for no reason."""
    return Counter((one.kind, check) for one in outcomes for check in one.stray)
