"""What was played, as data in docs/faults.json and as a page in docs/FAULTS.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from faults.fault import Played
from trainrelay.system.files import write_bytes

HEAD = """# Faults

What becomes of a training when something fails. `make faults` injects each row into a real training of the
driving demo (two ranks over gloo on CPU, 3 epochs of 4 iterations, a checkpoint per epoch), writes this page,
and ends non-zero where a row is not as it must be. After each row it also checks that no finished checkpoint
is gone or changed, that no attempt redid more than one checkpoint interval, that no process and no Slurm job
is left, and that no rank began while one of another attempt lived.

- *Noticed after*: from the injection to the record of the attempt's end, its processes gone; for rows about
  probes, from the start of the launch to the word on the rung; for rows about another supervisor or lease,
  from the start of the relaunch to its word on them. For rows on a real Slurm (`make faults-slurm` plays
  these alone; a Slurm of two nodes with eight A40s each is booted for them, and the training is a job that
  asks for eight): until the training goes on, in its next attempt; where none follows, until the controller
  said so. A controller asks squeue every 2 s here.
- *Redone*: iterations trained a second time. *Left*: processes of the row that lived when it was over.
"""
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


def render(rows: Sequence[Played]) -> str:
    """The page, a table per machine."""
    machines = dict.fromkeys(row.machine for row in rows)
    tables = [_table(machine, [row for row in rows if row.machine == machine]) for machine in machines]
    return "\n".join([HEAD, *tables])


def _table(machine: str, rows: Iterable[Played]) -> str:
    heads, lines = zip(*COLUMNS, strict=True)
    shown = [heads, lines, *(tuple(_cells(row)) for row in rows)]
    return f"Measured on {machine}:\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in shown)


def _cells(row: Played) -> Iterator[str]:
    yield from (_cell(row.what), _cell(row.injected))
    yield "" if row.noticed_after_s is None else f"{row.noticed_after_s:.1f}"
    yield from (_cell(row.ended_as), _cell(row.next_step))
    yield from (_cell(row.redone_iterations), _cell(row.processes_left))
    yield "**missed**" if row.missed else _cell(row.result)


def _cell(value: object) -> str:
    return "" if value is None else " ".join(str(value).split()).replace("|", "\\|")


# ---------------------------------------------------------------------- files


def read_rows(path: Path) -> list[Played]:
    """What was written before; nothing where there is no file."""
    if not path.exists():
        return []
    return [Played(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def merged(before: Sequence[Played], row: Played, order: Mapping[str, object]) -> list[Played]:
    """The rows with a new one in its place; rows of faults that are no more are dropped."""
    known = {one.name: one for one in before if one.name in order} | {row.name: row}
    return [known[name] for name in order if name in known]


def write_rows(folder: Path, rows: Sequence[Played]) -> None:
    """faults.json and FAULTS.md in a folder."""
    data = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n"
    write_bytes(folder / "faults.json", data.encode())
    write_bytes(folder / "FAULTS.md", render(rows).encode())
