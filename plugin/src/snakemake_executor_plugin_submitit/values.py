"""Single resource values, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unicodedata import category

from snakemake_executor_plugin_submitit.errors import RequestError


def printable(text: str) -> str:
    """For a terminal, whatever a file or a job is called; lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" or category(c) == "Zs" else " " for c in text)


def count(resources: Mapping[str, Any], name: str, least: int = 1) -> int | None:
    """A whole number; None if it is not set."""
    value = resources.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RequestError(f"{name}={value} is not a number: write a whole one, at least {least}")
    return value


def text(resources: Mapping[str, Any], name: str) -> str:
    """One line; empty if it is not set."""
    value = resources.get(name)
    line = "" if value is None else str(value).strip()
    if not line.isprintable():  # in a batch script a new line would be a new option
        raise RequestError(f"{name}={line!r} holds a control character: write it on one plain line")
    return line
