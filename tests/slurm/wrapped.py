"""Slurm's programs with a few shell lines before them, for the front of a PATH: to count, fail or mend."""

from __future__ import annotations

import shutil
from pathlib import Path

# Of a controller alone: what runs inside a job inherits its PATH.
COUNT = '[ -n "$SLURM_JOB_ID" ] || date +%s.%N >>"$HERE/PROGRAM asked"'


def wrap(folder: Path, program: str, lines: str, path: str) -> str:
    """The PATH on which `program` runs these lines first, with $HERE for `folder`; `path`: the one before."""
    folder.mkdir(exist_ok=True)
    real = shutil.which(program, path=path)
    assert real is not None, f"there is no {program}"
    text = f"#!/bin/sh\nHERE='{folder}'\n{lines.replace('PROGRAM', program)}\nexec '{real}' \"$@\"\n"
    (folder / program).write_text(text, encoding="utf-8")
    (folder / program).chmod(0o755)
    return path if path.startswith(f"{folder}:") else f"{folder}:{path}"


def asked_s(folder: Path, program: str) -> list[float]:
    """When a controller started a counted program; Unix times."""
    path = folder / f"{program} asked"
    return [float(line) for line in path.read_text(encoding="ascii").split()] if path.exists() else []
