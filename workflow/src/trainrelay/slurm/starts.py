"""When and where a request could start now, as `sbatch --test-only` says; nothing is submitted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from snakemake_executor_plugin_submitit.slurm import printable
from trainrelay.errors import SlurmError
from trainrelay.slurm.ask import ask

_START = re.compile(
    r"\bto start at (?P<at>\S+)"
    r"(?:.*? on (?:nodes )?(?P<nodes>[^\s;]+))?"
    r"(?:.*? in partition (?P<partition>[^\s;]+))?"
)
_NOW = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Start:
    """`at` is the cluster's local time; None, "": it was not said."""

    at: datetime | None
    nodes: str = ""
    partition: str = ""

    def words(self, now: datetime) -> str:
        """In words, e.g. "now, on node1 (partition gpu)"."""
        where = f", on {self.nodes}" if self.nodes else ""
        return f"{self._when(now)}{where}" + (f" (partition {self.partition})" if self.partition else "")

    def _when(self, now: datetime) -> str:
        if self.at is None:
            return "at a time that Slurm does not tell"
        if self.at - now < _NOW:
            return "now"
        wait_min = round((self.at - now).total_seconds() / 60)
        days, hours = wait_min // 1440, wait_min // 60 % 24
        long = f"{days} d {hours} h" if days else f"{hours} h {wait_min % 60} min"
        return f"{self.at:%Y-%m-%d %H:%M} (in {long if wait_min >= 60 else f'{wait_min} min'})"


def could_start(flags: Sequence[str]) -> Start:
    """When a job with these flags of sbatch could start; SlurmError with its reason where never."""
    try:
        return start_of(ask(["sbatch", "--test-only", *flags, "--wrap=true"], outside=True, errors_too=True))
    except SlurmError as error:
        if "no more jobs for now" in str(error):  # a limit that passes says nothing of the request
            return Start(None)
        raise


def start_of(said: str) -> Start:
    """Of `sbatch: Job 8 to start at 2026-01-31T10:00:00 using 40 processors on nodes n1 in partition gpu`."""
    found = next((match for line in printable(said).splitlines() if (match := _START.search(line))), None)
    if found is None:
        return Start(None)
    where = ["" if word in (None, "(null)") else word for word in found.group("nodes", "partition")]
    try:
        return Start(datetime.fromisoformat(found["at"]).replace(tzinfo=None), *where)
    except ValueError:
        return Start(None, *where)
