"""The one door: detect the format by content, read every file, assemble one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from trainrelay.analysis.readers import source
from trainrelay.analysis.readers.assemble import assemble
from trainrelay.analysis.readers.clean import clean
from trainrelay.analysis.readers.described_lines import DescribedLines
from trainrelay.analysis.readers.events import Format
from trainrelay.analysis.readers.metriclogger_json import MetricLoggerJson
from trainrelay.analysis.readers.metriclogger_text import MetricLoggerText
from trainrelay.analysis.readers.mmcv_json import MmcvJson
from trainrelay.analysis.readers.mmcv_text import MmcvText
from trainrelay.analysis.readers.mmengine_json import MmengineJson
from trainrelay.analysis.readers.mmengine_text import MmengineText
from trainrelay.errors import LogError, UnknownLogError
from trainrelay.records import Log

# A further format is one more module and one more entry here.
FORMATS: tuple[Format, ...] = (
    *(MmcvText(), MmcvJson(), MmengineText(), MmengineJson()),
    *(MetricLoggerText(), MetricLoggerJson()),
)
CLAIMS = 3  # lines that settle it: fewer may be a quotation
_SHOWN, _LINE_CHARS = 3, 120  # of a log of no known format
READS = ", ".join(form.title for form in FORMATS)


def read(
    paths: Sequence[Path],
    within: Mapping[Path, tuple[int, int]] | None = None,
    own: DescribedLines | None = None,
) -> Log:
    """All logs of one training, oldest first, as one table; by `own` where the user describes their lines.

    `within`: of a log that begins within an epoch, the finished epochs and iterations of the next one.

    A file of which no line is known (an attempt that died before it printed anything) is allowed beside
    one that is known. Raises LogError for files that are missing, binary, unknown, or of two formats.
    """
    if not paths:
        raise LogError(f"no log was given; {source.how(READS)}")
    for path in paths:
        source.check(path, READS)
    form = _common_format(paths, (own,) if own else FORMATS)
    events = (form.events(source.lines(path)) for path in paths)
    begun = [within.get(path) for path in paths] if within else []
    return assemble(form.name, [str(path) for path in paths], events, begun)


def _common_format(paths: Sequence[Path], formats: Sequence[Format]) -> Format:
    known = {path: form for path in paths if (form := detect(path, formats)) is not None}
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
    """The format that first claims a few lines, or the most lines of a short file: a single line may be a
    quotation."""
    claims: Counter[Format] = Counter()
    for line in source.lines(path):
        form = next((form for form in formats if form.claims(line)), None)
        if form is not None:
            claims[form] += 1
            if claims[form] == CLAIMS:
                return form
    return claims.most_common(1)[0][0] if claims else None


def _unknown(path: Path) -> str:
    shown = (f"`{clean(line, _LINE_CHARS)}`" for line in source.lines(path) if line.strip())
    first = " | ".join(islice(shown, _SHOWN))
    begins = f"it begins: {first}; {source.how(READS)}; if this is it, its numbers cannot be read"
    what = begins if first else source.how(READS)
    return f"{path}: {'has no line of a known format' if path.stat().st_size else 'is empty'}; {what}"
