"""The logs of one training in a folder: those of one format, oldest first."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from trainrelay.analysis.readers.events import Format
from trainrelay.analysis.readers.read import FORMATS, check, detect, how, read_lines
from trainrelay.analysis.readers.table_rows import TrainerState
from trainrelay.errors import LogError

ENDINGS = {".log", ".txt", ".json", ".jsonl", ".csv", ".out", ".err", ".gz"}
FILE_LIMIT = 10_000  # in a folder, whatever they are
_STAMP = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[ T](\d\d:\d\d:\d\d)")
_STAMPED_LINES = 200  # a trainer says the time sooner


def logs_of(path: Path, formats: Sequence[Format] = FORMATS) -> list[Path]:
    """A file is itself. A trainer may write its rows in two formats: the one that says more is read. Where
    none is known it is all that may be a log."""
    if not path.is_dir():
        return [path]
    found: defaultdict[Format | None, list[Path]] = defaultdict(list)
    for file in islice(path.rglob("*"), FILE_LIMIT):
        if file.suffix in ENDINGS and not any(part.startswith(".") for part in file.relative_to(path).parts):
            with suppress(LogError):
                check(file)
                found[detect(file, formats)].append(file)
    if not found:
        raise LogError(f"{path} holds no log of a known format; {how()}")
    form = next((form for form in formats if form in found), None)
    if isinstance(form, TrainerState):  # each checkpoint has one, with all rows before it
        return [max(found[form], key=lambda file: file.stat().st_size)]
    stages = sorted({file.parents[2] for file in found[form] if file.parent.parent.name == "attempts"})
    if len(stages) > 1:
        raise LogError(
            f"{path} holds the logs of {len(stages)} stages: give one, as {stages[0]}, or several with --each"
        )
    return _oldest_first(found[form])


def _oldest_first(files: list[Path]) -> list[Path]:
    """By the first time that each says; by name if one says none."""
    begun = {file: next(_stamps(file), "") for file in files}
    by_name = sorted(
        files,
        key=lambda file: [
            f"{int(part):020}" if part.isdecimal() else part for part in re.split(r"(\d+)", str(file))
        ],
    )
    return sorted(by_name, key=begun.__getitem__) if all(begun.values()) else by_name


def _stamps(file: Path) -> Iterator[str]:
    found = map(_STAMP.search, islice(read_lines(file), _STAMPED_LINES))
    return ("-".join(match.groups()) for match in found if match)
