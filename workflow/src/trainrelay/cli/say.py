"""What the verbs tell a person: to the terminal, and with --log to a file as well."""

from __future__ import annotations

import sys
import time
from pathlib import Path


class Teller:
    """One sentence at a time, with its time in the file."""

    def __init__(self) -> None:
        self._log: Path | None = None

    def log_to(self, path: Path | None) -> None:
        """Keep what is said in this file, too."""
        self._log = path

    def __call__(self, text: str) -> None:
        print(f"trainrelay: {text}", file=sys.stderr, flush=True)
        if self._log is not None:
            self._write(self._log, text)

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        except OSError as error:
            # The terminal has it; a full disk must not hide what is being said.
            print(f"trainrelay: cannot write {path}: {error.strerror}", file=sys.stderr)


say = Teller()
