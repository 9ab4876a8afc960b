"""Outside text inside Markdown: shown as it is, never obeyed."""

from __future__ import annotations

import re

from trainrelay.report.formatting import clean

_WRITTEN = re.compile(r"(?P<code>(?P<fence>`+)[^`].*?(?<!`)(?P=fence)(?!`))|\\(?P<special>[!-/:-@\[-`{-~])")
# What would begin a numbered list.
_ORDINAL = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
_SPECIAL = re.compile(
    r"[\\`*<\[\]#|$&]|(?<!-)>|^[-+]"  # code, emphasis, tags, links, headings, table cells, formulas, entities
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"  # emphasis; inside a word an underscore is itself
    r"|~(?=~)|(?<=\S)~|~(?!\d)"  # strikethrough; "~50" is itself
    r"|(?<=http):|(?<=https):|(?<=ftp):|(?<=www)\."  # addresses that would become links
    r"|(?<=\w)@(?=\w)",
    re.IGNORECASE,
)


def text(outside: str) -> str:
    """One line of Markdown that reads exactly as the outside text does."""
    return _ORDINAL.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", " ".join(clean(outside).split())))


def code(outside: str) -> str:
    """An outside name as a code span, whatever backticks it holds; not for table cells."""
    inner = " ".join(clean(outside).split()) or " "
    longest = max((len(run) for run in re.findall("`+", inner)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{inner}{pad}{fence}"


def plain(markdown: str) -> str:
    """Markdown of ours as text for a pipe: what was escaped reads as it was outside."""
    return _WRITTEN.sub(lambda found: found["code"] or found["special"], markdown)
