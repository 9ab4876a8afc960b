"""Plays faults: `make faults`, or python tests/faults/run.py [--list] [--write] [NAME...].

Ends 1 where one is not as it must be, 2 for an unknown name. With --write each row goes into docs/faults.json
and docs/FAULTS.md as soon as it is known, so that an interrupt loses one row. A project in which a fault
missed is kept.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faults.rows  # noqa: F401 (fills FAULTS)
from faults.fault import FAULTS, Fault, Played
from faults.page import merged, read_rows, write_rows
from faults.play import play
from support.signals import as_a_terminal_leaves_them

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main(argv: Sequence[str]) -> int:
    """Plays the named faults, or all; the exit status."""
    arguments = _arguments(argv)
    as_a_terminal_leaves_them()
    if unknown := set(arguments.names) - set(FAULTS):
        say(f"no fault is called {', '.join(sorted(unknown))}; type: python tests/faults/run.py --list")
        return 2
    chosen = [fault for fault in FAULTS.values() if not arguments.names or fault.name in arguments.names]
    if arguments.list:
        for fault in chosen:
            say(f"{fault.name:26} {'quick' if fault.quick else '     '} {fault.what} -> {fault.must}")
        return 0
    return _played(chosen, write=arguments.write)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Inject faults into real trainings.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="these alone")
    parser.add_argument("--list", action="store_true", help="name every fault and play none")
    parser.add_argument("--write", action="store_true", help="write docs/faults.json and docs/FAULTS.md")
    return parser.parse_args(argv)


def _played(chosen: Sequence[Fault], *, write: bool) -> int:
    rows = []
    for number, fault in enumerate(chosen, start=1):
        say(f"[{number}/{len(chosen)}] {fault.name}: {fault.injected}")
        row = _one(fault)
        rows.append(row)
        if write:
            write_rows(DOCS, merged(read_rows(DOCS / "faults.json"), row, FAULTS))
    missed = [row.name for row in rows if row.missed]
    say(
        f"{len(rows) - len(missed)} of {len(rows)} as they must be"
        + "".join(f"; {name} missed" for name in missed)
    )
    return 1 if missed else 0


def _one(fault: Fault) -> Played:
    folder = Path(tempfile.mkdtemp(prefix=f"fault-{fault.name}-"))
    row = play(fault, folder / "project")
    if row.missed:
        say(f"    MISSED after {row.took_s:g} s, the project is kept in {folder}: must be {fault.must}")
        say("    " + row.missed.replace("\n", "\n    "))
    else:
        shutil.rmtree(folder, ignore_errors=True)
        figures = f"noticed after {row.noticed_after_s} s, {row.redone_iterations} iterations redone"
        say(f"    {row.ended_as} -> {row.next_step} -> {row.result} ({figures}; took {row.took_s:g} s)")
    return row


def say(line: str) -> None:
    """One line, at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
