"""A command of the user, started in a project; every line that it prints is kept with its moment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

PATIENCE_S = 900.0  # no fault is measured by it: it only ends a row that would never end


class Launch:
    """A running or ended command."""

    def __init__(self, argv: list[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.started_s = time.time()
        self.lines: list[tuple[float, str]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", *argv],
            cwd=cwd,
            env={**os.environ, **env, "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.append((time.time(), line.rstrip("\n")))

    def wait(self) -> int:
        """Its exit status; an AssertionError if it does not end at all."""
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(
                f"the command did not end within {PATIENCE_S:g} s; it said:\n{self.text}"
            ) from None
        self._reader.join(5.0)
        return status

    def heard(self) -> None:
        """Returns once all that an ended command said is known."""
        if self.ended:
            self._reader.join(5.0)

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.process.poll() is not None

    @property
    def text(self) -> str:
        """All that it has printed so far."""
        return "\n".join(line for _, line in list(self.lines))

    def said_at(self, pattern: str) -> float:
        """When it first printed a line that matches; Unix time."""
        found = next((at_s for at_s, line in list(self.lines) if re.search(pattern, line)), None)
        assert found is not None, f"it never said {pattern!r}, but:\n{self.text}"
        return found
