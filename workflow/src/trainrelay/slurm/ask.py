"""One question to Slurm: a command as an argv list, with a deadline, its failure as one sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from trainrelay.errors import SlurmError
from trainrelay.slurm.environment import for_asking

_DEADLINE_S = 60.0
_LONGEST_CHARS = 300


def installed() -> bool:
    """Whether jobs can be submitted from this machine."""
    return shutil.which("sbatch") is not None


def ask(
    argv: Sequence[str],
    *,
    text: str = "",
    environment: Mapping[str, str] | None = None,
    deadline_s: float = _DEADLINE_S,
) -> str:
    """All that a command of Slurm prints, errors last; `text` is its input. SlurmError where it fails."""
    env = for_asking(os.environ) if environment is None else dict(environment)
    try:
        done = subprocess.run(
            list(argv), input=text.encode(), capture_output=True, timeout=deadline_s, check=False, env=env
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{argv[0]} gave no answer within {deadline_s:.0f} s") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in a word
        raise SlurmError(f"{argv[0]} cannot be started: {error}") from None
    said = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode:
        raise SlurmError(f"{argv[0]}: {sentence(argv[0], said[1] or said[0])}")
    return "".join(said)


def sentence(program: str, said: str) -> str:
    """What a failed command said, on one line: the last line tells what, those before it why."""
    lines = [_plain(program, line) for line in said.splitlines()]
    told = "; ".join(reversed([line for line in lines if line][-3:])) or "it failed and gave no reason"
    return told if len(told) <= _LONGEST_CHARS else told[: _LONGEST_CHARS - 1] + "…"


def _plain(program: str, line: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in line).strip()
    for prefix in (f"{program}: ", "error: ", "fatal: ", "allocation failure: "):
        printable = printable.removeprefix(prefix)
    return printable
