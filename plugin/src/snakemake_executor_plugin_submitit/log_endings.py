"""The last line of a failed job's logs: the reason is usually there, and not in the cluster's own log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from snakemake_executor_plugin_submitit.values import printable

_TAIL_BYTES = 8192
_LONGEST_CHARS = 600
_SUBMITIT = re.compile(r"submitit [A-Z]+ \(")  # how it loads and stores is no reason


def last_lines(logs: Iterable[Path]) -> Iterator[str]:
    """The last line of each log that has one, printable and bounded."""
    for path in logs:
        try:
            with path.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
                lines = file.read().decode("utf-8", errors="replace").splitlines()
        except OSError:
            continue
        plain = (printable(line).strip() for line in lines)
        said = [line for line in plain if line and not _SUBMITIT.match(line)]
        if said:
            yield f"{path} ends: {said[-1][:_LONGEST_CHARS]}"
