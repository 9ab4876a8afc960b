"""The results, as data in results.json and as the page docs/FAULTS.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from faults.fault import FaultResult
from trainrelay.system.files import write_bytes

HEAD = """# Faults

What happens to a training when something fails. `make faults` injects each fault into a real training of the
driving demo (two ranks over gloo on CPU, 3 epochs of 4 iterations, a checkpoint per epoch), writes this page,
and exits non-zero if a result is not as required. After each fault it also checks that no finished checkpoint
is gone or changed, that no attempt redid more than one checkpoint interval, that no process and no Slurm job
is left, and that no rank started while one of another attempt was alive.

- *Noticed after*: from the injection to the record of the attempt's end, its processes gone. For faults of
  probes: from the start of the launch to the result for that backend. For faults of another supervisor or
  lease: from the start of the relaunch to its message about them. For faults on a real Slurm (`make
  faults-slurm` runs only these; it boots a Slurm of two nodes with eight A40s each, and the training is a job
  that asks for eight): until the training continues in its next attempt, or, if none follows, until the
  controller reports it. A controller asks squeue every 2 s here.
- *Redone*: iterations trained a second time; with step checkpoints the result says how many that may be.
  Where a row does not name step checkpoints, they are off (`checkpoint_interval_min: 0`).
  *Left*: processes of the fault still alive at its end.
"""
RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).resolve().parents[2] / "docs/FAULTS.md"
COLUMNS = (
    ("fault", "---"),
    ("injected", "---"),
    ("noticed after (s)", "---:"),
    ("class", "---"),
    ("next step", "---"),
    ("redone", "---:"),
    ("left", "---:"),
    ("result", "---"),
)


def render(rows: Sequence[FaultResult]) -> str:
    """The page, a table per machine."""
    machines = dict.fromkeys(row.machine for row in rows)
    tables = [_table(machine, [row for row in rows if row.machine == machine]) for machine in machines]
    return "\n".join([HEAD, *tables])


def _table(machine: str, rows: Iterable[FaultResult]) -> str:
    heads, lines = zip(*COLUMNS, strict=True)
    shown = [heads, lines, *(tuple(_cells(row)) for row in rows)]
    return f"Measured on {machine}:\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in shown)


def _cells(row: FaultResult) -> Iterator[str]:
    yield from (_cell(row.what), _cell(row.injected))
    yield "" if row.noticed_after_s is None else f"{row.noticed_after_s:.1f}"
    yield from (_cell(row.ended_as), _cell(row.next_step))
    yield from (_cell(row.redone_iterations), _cell(row.processes_left))
    yield "**missed**" if row.missed else _cell(row.result)


def _cell(value: object) -> str:
    return "" if value is None else " ".join(str(value).split()).replace("|", "\\|")


# ---------------------------------------------------------------------- files


def read_rows(path: Path) -> list[FaultResult]:
    """What was written before; nothing if there is no file."""
    if not path.exists():
        return []
    return [FaultResult(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def merged(before: Sequence[FaultResult], row: FaultResult, order: Mapping[str, object]) -> list[FaultResult]:
    """The rows with a new one in its place; rows of faults that are no more are dropped."""
    known = {one.name: one for one in before if one.name in order} | {row.name: row}
    return [known[name] for name in order if name in known]


def write_rows(rows: Sequence[FaultResult], results: Path = RESULTS, page: Path = PAGE) -> None:
    """The data and the page."""
    data = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n"
    write_bytes(results, data.encode())
    write_bytes(page, render(rows).encode())
