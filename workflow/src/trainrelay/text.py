"""What text from outside becomes before it is in a record or on a terminal: without secrets, printable.

A secret is a variable of a trainer's environment whose name says so (HF_TOKEN, AWS_SECRET_ACCESS_KEY). Its
value is never shown, and found again in any other text that a trainer or a tool prints. Numbers as a
sparkline.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

HIDDEN = "***"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # they say nothing
MAX_EVIDENCE_CHARS = 300  # three lines of a terminal, so that the sentence around it is still seen
_OF_PATHS = re.compile("CREDENTIAL|FILE|PATH|DIR", re.IGNORECASE)
_SECRET = re.compile("TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_LEAST_CHARS = 8  # shorter ones ("false" of TOKENIZERS_PARALLELISM) are in any text
_known: dict[str, None] = {}


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return bool(_SECRET.search(name))


def kept_secret(env: Mapping[str, str]) -> Mapping[str, str]:
    """The same; from now on `hidden` finds its secrets, also as other tools spell them.

    A path to one is none, messages need it.
    """
    for name, text in env.items():
        path = _OF_PATHS.search(name) and text.startswith(("/", ".", "~"))
        for line in map(str.strip, text.splitlines() if is_secret(name) and not path else ()):
            spelled = (line, repr(line)[1:-1], json.dumps(line)[1:-1], quote(line), quote(line, safe=""))
            _known.update(dict.fromkeys(one for one in spelled if len(line) >= _LEAST_CHARS))
    return env


def hidden(text: str) -> str:
    """The text without the secrets that are known in this process."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def masked(env: Mapping[str, str]) -> dict[str, str]:
    """An environment as it may be shown and recorded."""
    return {name: HIDDEN if is_secret(name) else hidden(text) for name, text in env.items()}


def count(amount: int, noun: str) -> str:
    """An amount and its noun in the right number."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def printable(text: object) -> str:
    """One line without secrets; what would move the cursor or turn text around is shown as an escape."""
    return "".join(map(_shown, _COLOURS.sub("", hidden(str(text)))))


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


_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """A character each, between the least and the greatest of them; NaN and infinities as ×."""
    halves = [value / 2 for value in values if math.isfinite(value)]  # of whole ones a difference may not be
    low = min(halves, default=0.0)
    step = (max(halves, default=0.0) - low) / len(_BLOCKS)
    places = [(value / 2 - low) / step if step else len(_BLOCKS) / 2 for value in values]
    return "".join(
        _BLOCKS[min(int(at), 7)] if math.isfinite(v) else "×" for at, v in zip(places, values, strict=True)
    )


def did_you_mean(got: object, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known; empty where none is close."""
    close = difflib.get_close_matches(str(got), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
