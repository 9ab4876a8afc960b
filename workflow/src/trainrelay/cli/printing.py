"""What verbs print: JSON, or Markdown that is rendered on a terminal."""

from __future__ import annotations

import sys
from typing import Any

import orjson

MOST_COLUMNS = 110  # wider lines of text are hard to read


def print_json(value: Any) -> None:
    """Indented; what is not finite is null."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())


def print_markdown(text: str) -> None:
    """Rendered on a terminal; into a pipe or a file the text itself, without the escapes of Markdown."""
    if not sys.stdout.isatty():
        from trainrelay.report import plain  # noqa: PLC0415 - a verb that prints JSON loads none of it

        print(plain(text), end="")
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.markdown import Markdown  # noqa: PLC0415

    console = Console()
    console.print(Markdown(text, hyperlinks=False), width=min(console.width, MOST_COLUMNS))
