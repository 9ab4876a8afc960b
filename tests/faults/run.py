"""Plays faults: `make faults`, or python tests/faults/run.py [--list] [--write] [--on-rig] [NAME...].

Exits 1 if a result is not as required, 2 for an unknown name. With --write each row goes into
results.json and docs/FAULTS.md as soon as it is known, so that an interrupt loses one row. A project in
which a fault missed is kept. Rows that need a real Slurm are skipped with a message if there can be none,
which on a CI machine (CI=true) is a miss.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faults.rows  # noqa: F401 (fills FAULTS)
from faults.fault import FAULTS, Fault, FaultResult
from faults.page import RESULTS, merged, read_rows, write_rows
from faults.play import play
from slurm.rig import Rig, why_no_rig
from support.signals import as_a_terminal_leaves_them


def main(argv: Sequence[str]) -> int:
    """Plays the named faults, or all; the exit status."""
    arguments = _arguments(argv)
    as_a_terminal_leaves_them()
    if unknown := set(arguments.names) - set(FAULTS):
        say(f"unknown fault: {', '.join(sorted(unknown))}; run: python tests/faults/run.py --list")
        return 2
    chosen = [fault for fault in FAULTS.values() if not arguments.names or fault.name in arguments.names]
    chosen = [fault for fault in chosen if fault.on_rig or not arguments.on_rig]
    if arguments.list:
        for fault in chosen:
            say(f"{fault.name:26} {'quick' if fault.quick else '     '} {fault.what} -> {fault.must}")
        return 0
    return _played(chosen, write=arguments.write)


def _without_rig(chosen: Sequence[Fault]) -> list[str]:
    """Names of rows that are skipped because this machine can have no rig; one line says so."""
    on_rig = [fault.name for fault in chosen if fault.on_rig]
    if not on_rig or not (reason := why_no_rig()):
        return []
    say(f"skipped, they need a real Slurm ({reason}): {', '.join(on_rig)}")
    return on_rig


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Inject faults into real trainings.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="these alone")
    parser.add_argument("--list", action="store_true", help="name every fault and play none")
    parser.add_argument("--on-rig", action="store_true", help="those alone that need a real Slurm")
    parser.add_argument("--write", action="store_true", help="write results.json and docs/FAULTS.md")
    return parser.parse_args(argv)


def _played(chosen: Sequence[Fault], *, write: bool) -> int:
    left_out = _without_rig(chosen)
    rows = _all([fault for fault in chosen if fault.name not in left_out], write=write)
    missed = [row.name for row in rows if row.missed]
    say(
        f"{len(rows) - len(missed)} of {len(rows)} as required"
        + "".join(f"; {name} missed" for name in missed)
    )
    return 1 if missed or (left_out and os.environ.get("CI") == "true") else 0


def _all(chosen: Sequence[Fault], *, write: bool) -> list[FaultResult]:
    rows: list[FaultResult] = []
    with ExitStack() as until_the_end:
        rig: Rig | None = None
        for number, fault in enumerate(chosen, start=1):
            if fault.on_rig and rig is None:
                rig = Rig()
                until_the_end.enter_context(rig.alone())
            say(f"[{number}/{len(chosen)}] {fault.name}: {fault.injected}")
            rows.append(_one(fault, rig))
            if write:
                write_rows(merged(read_rows(RESULTS), rows[-1], FAULTS))
    return rows


def _one(fault: Fault, rig: Rig | None) -> FaultResult:
    folder = Path(tempfile.mkdtemp(prefix=f"fault-{fault.name}-"))
    row = play(fault, folder / "project", rig)
    if row.missed:
        say(f"    MISSED after {row.took_s:g} s, the project is kept in {folder}; required: {fault.must}")
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
