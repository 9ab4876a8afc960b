"""The one door: detect the format by content, read every file, assemble one table."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial, reduce
from itertools import chain, islice
from operator import ne
from pathlib import Path
from typing import IO, cast

from trainrelay.analysis.readers.assemble import assemble
from trainrelay.analysis.readers.clean import clean, json_object, json_objects, whole
from trainrelay.analysis.readers.described_lines import DescribedLines
from trainrelay.analysis.readers.events import Format
from trainrelay.analysis.readers.metriclogger_json import MetricLoggerJson
from trainrelay.analysis.readers.metriclogger_markers import introduces
from trainrelay.analysis.readers.metriclogger_text import MetricLoggerText
from trainrelay.analysis.readers.mmcv_json import MmcvJson
from trainrelay.analysis.readers.mmcv_text import MmcvText
from trainrelay.analysis.readers.mmengine_json import MmengineJson
from trainrelay.analysis.readers.mmengine_text import MmengineText
from trainrelay.analysis.readers.table_rows import TableRows, TrainerState
from trainrelay.errors import LogError, UnknownLogError
from trainrelay.progress_lines.bars import is_bar, parts
from trainrelay.progress_lines.console import ConsoleReader
from trainrelay.records import Log


def with_own(own: Format | None = None, first: int | None = None) -> tuple[Format, ...]:
    """All formats; the lines that the user describes come before those of consoles, which are guessed.
    `first`: what the trainer calls its first epoch, where that is known."""
    return (
        *_FORMATS,
        *((own,) if own else ()),
        DescribedLines(ConsoleReader, first, one_start=True, usual="`Epoch 3 .. loss 0.5`"),
        DescribedLines(partial(ConsoleReader, 0), None, one_start=True, usual="`step 50: loss 2.3`"),
    )


# A further format is one more module and one more entry here.
_FORMATS: tuple[Format, ...] = (
    *(MmcvText(), MmcvJson(), MmengineText(), MmengineJson()),
    *(MetricLoggerText(), MetricLoggerJson(), TrainerState(), TableRows()),
)
FORMATS = with_own()
CLAIMS = 3  # lines that settle it: fewer may be a quotation
# A sentence, or what only a page of text has; so many a line that is read are warnings, more are a page.
_PROSE = re.compile(
    r"[\s>*#\d.|-]{0,12}(?:[(\"'*`]{0,3}[A-Za-z][\w'/-]{0,30}[`*\"')]{0,3}[,;:.!?]? ){7}|```|# [A-Z]"
    r"|[^`]{0,200}`[^`\s][^`]{0,80}`|[^\]]{0,200}\]\("
)
_WRITTEN, _PAGE, _MOST_WRITTEN = 2, 30, 10_000
_SHOWN, _LINE_CHARS = 3, 120  # of a log of no known format
READS = ", ".join(form.title for form in FORMATS)


def read(
    paths: Sequence[Path],
    within: Mapping[Path, tuple[int, int]] | None = None,
    own: Format | None = None,
    formats: Sequence[Format] = FORMATS,
) -> Log:
    """All logs of one training, oldest first, as one table; by `own` where the user describes their lines.

    `within`: of a log that begins within an epoch, the finished epochs and iterations of the next one.

    A file of which no line is known (an attempt that died before it printed anything) is allowed beside
    one that is known. Raises LogError for files that are missing, binary, unknown, or of two formats.
    """
    if not paths:
        raise LogError(f"no log was given; {how()}")
    for path in paths:
        check(path)
    form = _common_format(paths, (own,) if own else formats)
    events = (form.events(read_lines(path, formats=[form])) for path in paths)
    begun = [within.get(path) for path in paths] if within else []
    return assemble(form.name, [str(path) for path in paths], events, begun)


def _common_format(paths: Sequence[Path], formats: Sequence[Format]) -> Format:
    found = {path: detected(path, formats) for path in paths}
    known = {path: form for path, (form, _) in found.items() if form}
    known = known or {path: form for path, (_, form) in found.items() if form}
    if not known:
        raise UnknownLogError(_unknown(paths[0]))
    first = next(iter(known))
    for path, form in known.items():
        if form is not known[first]:
            raise LogError(
                f"{path} is {form.title}, but {first} is {known[first].title}; "
                "give logs of one format at a time"
            )
    return known[first]


def detect(path: Path, formats: Sequence[Format] = FORMATS) -> Format | None:
    """The format of a log; None of what is none."""
    return next(filter(None, detected(path, formats)), None)


def detected(path: Path, formats: Sequence[Format]) -> tuple[Format | None, Format | None]:
    """The format that first claims a few lines, or the most lines of a short file: a single line may be a
    quotation, and so may a few lines among sentences that are as those of many trainers. Apart from it that
    of a log of nothing but what trainers of other formats print as well."""
    claims, shared = Counter[Format](), Counter[Format]()
    claiming = [(form, form.claiming()) for form in formats]
    described = {form for form in formats if isinstance(form, DescribedLines)}
    consoles = {form for form in described if form.guessed}
    written, page = set[str](), 0  # each sentence once: every rank prints the same warning
    for number, line in enumerate(read_lines(path, formats=formats)):
        form = next((form for form, claims_it in claiming if claims_it(line)), None)
        if form is not None and (introduces(line) or (form in consoles and is_bar(line))):
            shared[form] += 1
        elif form is not None:
            claims[form] += 1
            quoted = form in described and claims[form] * _WRITTEN < len(written) + page
            if claims[form] >= CLAIMS and not quoted:
                return form, None
        elif described == consoles and len(written) < _MOST_WRITTEN and _PROSE.match(line):
            written.add(line[:_LINE_CHARS])
            page = max(page, _PAGE * line.startswith("```" if number else ("# ", "```")))
    (form, most), (other, more) = (next(iter(one.most_common(1)), (None, 0)) for one in (claims, shared))
    return (form, other) if (most + more) * _WRITTEN >= len(written) + page else (None, None)


def _unknown(path: Path) -> str:
    shown = (f"`{clean(line, _LINE_CHARS)}`" for line in read_lines(path) if line.strip())
    first = " | ".join(islice(shown, _SHOWN))
    begins = f"it begins: {first}; {how()}; if this is it, its numbers cannot be read"
    what = begins if first else how()
    return f"{path}: {'has no line of a known format' if path.stat().st_size else 'is empty'}; {what}"


PROBE_BYTES = 65536  # in which a binary file shows a byte that no text has
# A longer line is cut, so that a file without line ends cannot fill the memory. The longest real one
# is the first line of a JSON log (32 kB).
LINE_LIMIT = 1 << 20

_PROBE_LINES = 50  # of which a batch script may print some itself
_GZIP = b"\x1f\x8b"
_LIST = re.compile(r"\s*\[\s*\{")
_NULS = re.compile("\0+")
_TEXT = bytes({*range(0x20, 0x7F), *range(0x80, 0x100), *b"\0\a\b\t\n\v\f\r\x1b"})
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # as PowerShell writes what is sent to a file
_TAR = slice(257, 262)  # where its files are text, only this tells an archive from a log


def check(path: Path) -> None:
    """Refuses what cannot be a text log. Raises LogError."""
    try:
        if not path.is_file():
            other = " is a folder, not a log" if path.is_dir() else " is not a regular file"
            raise LogError(f"{path}{other if path.exists() else ': not found'}; {how()}")
        with _opened(path) as file:
            head = file.read(PROBE_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise LogError(
            f"{path} cannot be read ({getattr(error, 'strerror', 0) or error}); {how()}"
        ) from error
    if b"\0" in head and not head.startswith(_UTF_16) and _is_binary(head):
        raise LogError(f"{path} is a binary file, not a log; {how()}")


def _encoding(path: Path) -> str:
    with _opened(path) as file:
        return "utf-16" if file.read(2) in _UTF_16 else "utf-8-sig"


def _opened(path: Path) -> IO[bytes]:
    """The bytes of a log, those of a `.gz` unpacked."""
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
    return cast("IO[bytes]", gzip.open(path)) if packed else path.open("rb")


def read_lines(
    path: Path, wait: Callable[[bool], object] | None = None, formats: Sequence[Format] = ()
) -> Iterator[str]:
    """The lines with their ends, without what Docker, Kubernetes or `srun --label` put around each, unless
    `formats` know more of them with it; of a JSON list an object a line. With `wait` they never end: it is
    called where no more is there, with whether the last line is whole."""
    first = list(islice(_lines(path, None), _PROBE_LINES))
    lines = _lines(path, wait)
    if wait is None and _LIST.match("".join(first)):
        yield from (json.dumps(one) + "\n" for one in json_objects(whole(lines)))
        return
    bare = _wrappings([line for line in first if line.strip()], formats)
    lines = (reduce(lambda said, without: without(said), bare, line) for line in lines) if bare else lines
    yield from chain.from_iterable(map(parts, lines))


def _wrappings(first: list[str], formats: Sequence[Format]) -> list[Callable[[str], str]]:
    """What takes off that which most of the first lines are in, from the outside in."""

    def known(lines: list[str]) -> int:
        claiming = [form.claiming() for form in formats]
        return sum(any(claims(line) for claims in claiming) for line in lines)

    found = list[Callable[[str], str]]()
    for without in _WRAPPINGS:
        bare = list(map(without, first))
        if 2 * sum(map(ne, bare, first)) > len(first) and known(bare) >= known(first):
            first, found = bare, [*found, without]
    return found


def _logged(line: str) -> str:
    """The line in an object of Docker's json-file driver or of Loki."""
    found = (json_object(line) if line.startswith("{") else None) or {}
    said = found.get("log", found.get("line"))
    return f"{said.removesuffix(chr(10))}\n" if isinstance(said, str) else line


_WRAPPINGS: tuple[Callable[[str], str], ...] = (
    _logged,
    *(
        partial(re.compile(before).sub, "")
        for before in (
            r"^\[pod/[\w./-]{1,200}\] ",
            r"^(?:\x1b\[[\d;]{1,9}m)?[\w.-]{1,60} {1,40}\|(?:\x1b\[0m)? ?",  # docker compose
            r"^(?:\d{13,19}\t)?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)[ \t]"
            r"(?:std(?:out|err) [FP] |\{[^{}]{1,500}\} )?",
            r"^ {0,3}\d{1,4}: ",  # srun --label
        )
    ),
)


def _lines(path: Path, wait: Callable[[bool], object] | None) -> Iterator[str]:
    """The lines with their ends; a carriage return of a progress bar ends a line too.

    NUL bytes are left out. They fill what a crash kept from being written, so what is before them is a
    line that was cut, and what follows is another line.
    """
    # Of a `.gz` that was cut or damaged, what comes before that.
    with (
        suppress(EOFError, gzip.BadGzipFile, zlib.error),
        io.TextIOWrapper(_opened(path), encoding=_encoding(path), errors="replace") as file,
    ):
        held = ""
        while (line := held + file.readline(LINE_LIMIT)) or wait:
            held = line if wait and not line.endswith("\n") and len(line) < LINE_LIMIT else ""
            if wait and (held or not line):
                wait(not held)
            elif "\0" in line:
                yield from filter(None, _NULS.split(line))
            else:
                yield line


def how() -> str:
    """What to run instead."""
    return f"trainrelay reads {READS}: run `trainrelay analyze LOG...` with the trainer's own log"


def _is_binary(head: bytes) -> bool:
    """Whether a file that holds NUL bytes holds others, too, that no trainer prints."""
    return head[_TAR] == b"ustar" or bool(head.translate(None, _TEXT))
