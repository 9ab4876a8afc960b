"""The one door: detect the format by content, read every file, assemble one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trainrelay.errors import LogError
from trainrelay.logs import source
from trainrelay.logs.assemble import assemble
from trainrelay.logs.events import Event, Format
from trainrelay.logs.mmcv_json import MmcvJson
from trainrelay.logs.mmcv_text import MmcvText
from trainrelay.records import Log

# A further format is one more module and one more entry here.
FORMATS: tuple[Format, ...] = (MmcvText(), MmcvJson())
READS = ", ".join(form.title for form in FORMATS)


def read(paths: Sequence[Path]) -> Log:
    """All logs of one training, oldest first, as one table.

    A file of which no line is known (an attempt that died before it said anything) is allowed beside
    one that is known. Raises LogError for files that are missing, binary, unknown, or of two formats.
    """
    if not paths:
        raise LogError(f"no log was given; {source.how(READS)}")
    for path in paths:
        source.check(path, READS)
    form = _common_format(paths)
    return assemble(form.name, [str(path) for path in paths], [_events(form, path) for path in paths])


def _events(form: Format, path: Path) -> Iterator[Event]:
    return form.events(source.lines(path))


def _common_format(paths: Sequence[Path]) -> Format:
    known = {path: form for path in paths if (form := detect(path)) is not None}
    if not known:
        raise LogError(_unknown(paths[0]))
    first = next(iter(known))
    for path, form in known.items():
        if form is not known[first]:
            raise LogError(
                f"{path}: is {form.title}, but {first} is {known[first].title}; "
                "give logs of one format at a time"
            )
    return known[first]


def detect(path: Path) -> Format | None:
    """The format of the first line that only one format can have written."""
    for line in source.lines(path):
        for form in FORMATS:
            if form.claims(line):
                return form
    return None


def _unknown(path: Path) -> str:
    what = "is empty" if path.stat().st_size == 0 else "has no line of a known format"
    return f"{path}: {what}; {source.how(READS)}"
