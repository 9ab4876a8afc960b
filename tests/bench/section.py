"""docs/BENCHMARKS.md, of which each benchmark writes its own section."""

from __future__ import annotations

import os
import platform
import re

from support.project import REPOSITORY

PAGE = REPOSITORY / "docs/BENCHMARKS.md"


def machine() -> str:
    """Where the figures come from."""
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def replaced(page: str, title: str, text: str) -> str:
    """The page with the section of this title in place of the one before, or at its end."""
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"{page.rstrip()}\n\n{text}"
    rest = page[found.end() :]
    return page[: found.start()] + text + (f"\n{rest}" if rest else "")


def write_section(title: str, text: str) -> None:
    """Puts a section into the page; the others stay."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Benchmarks\n"
    PAGE.write_text(replaced(page, title, text), encoding="utf-8")
