"""How long trainings took, as `str(timedelta)` prints it: `1 day, 0:04:18`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

_TIME = re.compile(r"(?:(\d{1,6}) days?, )?(\d{1,6}):(\d\d):(\d\d)(?:\.\d{1,9})?")


def total_time(times: Sequence[str]) -> str | None:
    """The sum; None unless each one is known. A single one stays as it was printed."""
    if len(times) == 1:
        return times[0] or None
    found = [match for time in times if (match := _TIME.fullmatch(time))]
    if not found or len(found) < len(times):
        return None
    return str(sum(map(_timedelta, found), timedelta()))


def _timedelta(match: re.Match[str]) -> timedelta:
    days, hours, minutes, seconds = (int(text or 0) for text in match.groups())
    return timedelta(days, seconds, minutes=minutes, hours=hours)
