"""What verbs print: JSON, or Markdown that is rendered on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import orjson

from trainrelay.system.say import answer
from trainrelay.text import printable_lines

MOST_COLUMNS = 110  # wider lines of text are hard to read


def print_json(value: Any) -> None:
    """Indented; what is not finite is null."""
    answer(orjson.dumps(_shown(value), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())


def _shown(value: Any) -> Any:
    # Before it is JSON, in which an escape must be spelled otherwise, and half a character is an error.
    if isinstance(value, str):
        return printable_lines(value)
    if isinstance(value, Mapping):
        return {_shown(key): _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list | tuple) else value


def print_markdown(text: str, *, rendered: bool = True) -> None:
    """Rendered on a terminal; into a pipe or a file the text itself, without the escapes of Markdown."""
    if not rendered:
        answer(text.removesuffix("\n"))
        return
    if not sys.stdout.isatty():
        from trainrelay.report import plain  # noqa: PLC0415 - a verb that prints JSON loads none of it

        answer(plain(text).removesuffix("\n"))
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.markdown import Markdown  # noqa: PLC0415

    console = Console()
    console.print(Markdown(printable_lines(text), hyperlinks=False), width=min(console.width, MOST_COLUMNS))
