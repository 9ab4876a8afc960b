"""What text from outside becomes before it is in a record or on a terminal: without secrets, printable.

A secret is a variable of a trainer's environment whose name says so (HF_TOKEN, AWS_SECRET_ACCESS_KEY). Its
value is never shown, and found again in any other text that a trainer or a tool prints.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping

HIDDEN = "***"
MAX_EVIDENCE_CHARS = 300  # three lines of a terminal, so that the sentence around it is still seen
_SECRET = re.compile("TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_LEAST_CHARS = 8  # shorter ones ("false" of TOKENIZERS_PARALLELISM) are in any text
_known: dict[str, None] = {}


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return bool(_SECRET.search(name))


def kept_secret(env: Mapping[str, str]) -> Mapping[str, str]:
    """The same; from now on `hidden` finds its secrets. A path to one is none, messages need it."""
    lines = (line.strip() for name, text in env.items() if is_secret(name) for line in text.splitlines())
    _known.update(dict.fromkeys(one for one in lines if len(one) >= _LEAST_CHARS and one[0] not in "/.~"))
    return env


def hidden(text: str) -> str:
    """The text without the secrets that are known in this process."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def masked(env: Mapping[str, str]) -> dict[str, str]:
    """An environment as it may be shown and recorded."""
    return {name: HIDDEN if is_secret(name) else hidden(text) for name, text in env.items()}


def printable(text: object) -> str:
    """One line without secrets; what would move the cursor or turn text around is shown as an escape."""
    return "".join(map(_shown, hidden(str(text))))


def printable_lines(text: str) -> str:
    """The same of each line."""
    return "\n".join(map(printable, text.split("\n")))


def _shown(char: str) -> str:
    # Spaces of other scripts are harmless, and part of some people's paths.
    plain = char.isprintable() or unicodedata.category(char) == "Zs"
    return char if plain else " " if char == "\t" else ascii(char)[1:-1]


def quoted(text: str) -> str:
    """A line of a log as evidence inside a sentence: one line, printable, at most 300 characters."""
    clean = printable(text.strip())
    return clean if len(clean) <= MAX_EVIDENCE_CHARS else clean[: MAX_EVIDENCE_CHARS - 1] + "…"


def did_you_mean(got: object, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known; empty where none is close."""
    close = difflib.get_close_matches(str(got), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
