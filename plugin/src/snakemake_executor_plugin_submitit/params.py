"""With which params a job was submitted: one with others writes the same files, but does other work."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PARAMS_FILE = "params"  # in the submission's folder
_PLAIN = (str, int, float, complex, bytes, bytearray, range, type(None))


def digest_of_params(rules: Iterable[tuple[str, Iterable[Any]]]) -> str:
    """Of each rule's name and params; as for Snakemake's own trigger, the set of values counts."""
    known = sorted([name, *sorted(set(map(_text, params)))] for name, params in rules)
    return hashlib.sha256(repr(known).encode()).hexdigest()


def _text(value: Any) -> str:
    """The same in each process; of what Snakemake cannot compare, the type alone."""
    if isinstance(value, dict):
        parts = [f"{_text(key)}: {_text(item)}" for key, item in value.items()]
    elif isinstance(value, set | frozenset):
        parts = sorted(map(_text, value))
    elif isinstance(value, list | tuple):
        parts = list(map(_text, value))
    else:
        return repr(value) if isinstance(value, _PLAIN) else type(value).__name__
    return f"{type(value).__name__}({', '.join(parts)})"


def note_params(folder: Path, digest: str) -> None:
    """For the controllers after this one."""
    (folder / PARAMS_FILE).write_text(digest, encoding="utf-8")


def other_params_since(folder: Path, digest: str) -> str:
    """When it was submitted with other params; empty: with these, or by a version that did not note them."""
    path = folder / PARAMS_FILE
    try:
        at = time.localtime(path.stat().st_mtime)
        return "" if path.read_bytes() == digest.encode() else time.strftime("%Y-%m-%d %H:%M:%S", at)
    except OSError:
        return ""
