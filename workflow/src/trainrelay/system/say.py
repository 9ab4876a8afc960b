"""What the verbs print, made printable here: messages to the terminal, and with --log to a file; answers."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from trainrelay.system.hints import typed, with_configfile
from trainrelay.text import printable_lines


class Teller:
    """One sentence at a time, with its time in the file."""

    def __init__(self) -> None:
        self._log: Path | None = None
        self.configfile: Path | None = None

    def begin(self, log: Path | None, configfile: Path | None) -> None:
        """Also write messages to this file; their commands are for this config."""
        self._log, self.configfile = log, typed(configfile)

    def __call__(self, text: str) -> None:
        text = printable_lines(with_configfile(text, self.configfile))
        print(f"trainrelay: {text}", file=sys.stderr, flush=True)
        if self._log is not None:
            self._write(self._log, text)

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        except OSError as error:
            # The terminal has it; a full disk must not hide the message.
            print(printable_lines(f"trainrelay: cannot write {path}: {error.strerror}"), file=sys.stderr)


def answer(text: str) -> None:
    """What a verb was asked for, to stdout."""
    print(printable_lines(text), flush=True)


say = Teller()
