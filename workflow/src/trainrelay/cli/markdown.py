"""Markdown: rendered on a terminal, as it is everywhere else."""

from __future__ import annotations

import sys

MOST_COLUMNS = 110  # wider lines of text are hard to read


def show(text: str) -> None:
    """Rendered on a terminal; the text itself into a pipe or a file."""
    if not sys.stdout.isatty():
        print(text, end="")
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.markdown import Markdown  # noqa: PLC0415

    console = Console()
    console.print(Markdown(text, hyperlinks=False), width=min(console.width, MOST_COLUMNS))
