"""The exceptions and dead ranks that a log shows, in order (pure).

The spellings are those of torch 1.12 (no rank in front of a line) and 2.13 (`[rank1]: ` in front).
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CONSEQUENCE = re.compile(r"ChildFailedError$|CalledProcessError$|SystemExit$")  # of a rank's own failure
UNNAMED = ""  # a rank whose number the log does not say

_RANK = re.compile(r"^\[(?:default|rank)?(\d+)\]:\s?")
_HEADER = "Traceback (most recent call last):"
# Right below a traceback's frames any class name with a dot counts, and what is named like an exception: in
# `KeyError`, `socket.timeout`, but not `Python: 3.9.12`, where the traceback's own end is missing.
_EXCEPTION = re.compile(
    r"^((?:[A-Za-z_]\w*\.)+(?:[A-Z]\w*|\w*error|timeout)"
    r"|_?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Iteration|Warning|Timeout|Failure|Empty|Full)|Exception)"
    r"(?::(?: (.*))?)?$"
)
_NAMED_EXCEPTION = re.compile(r"^((?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|Interrupt))(?::(?: (.*))?)?$")
_TERMINATE = re.compile(r"^\s*what\(\):\s+(.*)$")
_WATCHDOG = re.compile(r"Watchdog caught collective operation timeout.*")
_IGNORED = "Exception ignored in"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_WORKER_REPORT = "Caught "  # torch repeats a data worker's traceback below this line
# A data worker prints this and runs on: the rank that it was to hand a tensor to is gone.
_SERVES = re.compile(r'multiprocessing/resource_sharer\.py", line \d+, in _serve$')
_MOST_FRAMES = 2_000  # as deep as Python recurses, two lines for each

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_LIBRARY = re.compile(r"/lib/python3|-packages/|^<")
_FAILED = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+) \(pid: (\d+)\)")
_CLOSED = re.compile(r"Sending process (\d+) closing signal")
_SIGNALLED = re.compile(r"died with <Signals\.SIG\w+: (\d+)>")  # torch.distributed.launch before torch 1.9
_TABLE_RANK = re.compile(r"^\s+rank\s+: (\d+) \(local_rank: \d+\)")
_TABLE_EXIT = re.compile(r"^\s+exitcode\s+: (-?\d+) \(pid: (\d+)\)")


@dataclass(frozen=True, slots=True)
class LoggedError:
    """One exception that ended something: the first of its chain. `frames` is its traceback's text."""

    rank: str  # "rank 1", or UNNAMED
    name: str  # e.g. "torch.OutOfMemoryError"
    message: str
    frames: str = ""

    @property
    def text(self) -> str:
        """As the log prints it."""
        return f"{self.name}: {self.message}" if self.message else self.name

    @property
    def place(self) -> str:
        """File and line, of the trainer's own code if it is in the traceback; empty if there is none."""
        places = sorted(_FRAME.findall(self.frames), key=lambda place: not _LIBRARY.search(place[0]))
        return ", line ".join(places[-1]) if places else ""


@dataclass(frozen=True, slots=True)
class DeadRank:
    """A rank that the launcher saw end by itself; negative `status`: minus the signal's number."""

    rank: str
    status: int


def logged_errors(lines: Sequence[str]) -> list[LoggedError]:
    """Every exception of a log, in the order in which they began."""
    streams: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(lines):
        rank, text = of_rank(line)
        streams.setdefault(rank, []).append((number, text))
    found = [item for rank, stream in streams.items() for item in _of_stream(rank, stream)]
    return [exception for _, exception in sorted(found, key=lambda item: item[0])]


def of_rank(line: str) -> tuple[str, str]:
    """The rank in front of a line, and the line without it."""
    prefix = _RANK.match(line)
    return (f"rank {prefix[1]}", line[prefix.end() :]) if prefix else (UNNAMED, line)


class TracebackReader:
    """Follows the lines of one rank; `began` is the number of the header of the newest exception."""

    def __init__(self) -> None:
        self.began = 0
        self._frames: list[str] | None = None  # not None: inside a traceback
        self._below = False  # the line before was one of its frames
        self._skipped = False  # its exception follows from another one, or is ignored

    @property
    def inside(self) -> bool:
        """Whether a traceback is open."""
        return self._frames is not None

    def line(self, number: int, line: str) -> tuple[str, str, str] | None:
        """The exception that a line names, its message and frames, if it is the first of its chain."""
        if line.startswith((*_CHAINED, _IGNORED)):
            self._skipped = True
        elif _HEADER in line:
            self._frames, self._below, self.began = [], True, number
        elif self._frames is not None and (line[:1].isspace() or not line.strip()):
            self._below = True
            if len(self._frames) < _MOST_FRAMES:
                self._frames.append(line)
        elif found := _exception(line, below=self._below):
            frames, skipped = self._frames, self._skipped
            self._frames, self._below, self._skipped = None, False, False
            if not frames:
                self.began = number
            runs_on = frames and _SERVES.search(frames[0])
            if not (skipped or runs_on or found[1].startswith(_WORKER_REPORT)):
                return (*found, "\n".join(frames or ()))
        else:
            self._below = False
        return None


def _of_stream(rank: str, stream: Sequence[tuple[int, str]]) -> Iterator[tuple[int, LoggedError]]:
    reader = TracebackReader()
    for number, line in stream:
        if found := reader.line(number, line):
            yield reader.began, LoggedError(rank, *found)


def _exception(line: str, *, below: bool) -> tuple[str, str] | None:
    if found := (_EXCEPTION if below else _NAMED_EXCEPTION).match(line):
        return found[1], found[2] or ""
    if found := _TERMINATE.match(line):
        return "terminate", found[1]
    if found := _WATCHDOG.search(line):
        return "ProcessGroupNCCL", found[0]
    return None


def dead_ranks(lines: Sequence[str]) -> list[DeadRank]:
    """Ranks that ended badly by themselves; those that the launcher then closed are left out."""
    closed, ended = _closed(lines), _ended(lines)
    signalled = [DeadRank("a rank", -int(found[1])) for line in lines if (found := _SIGNALLED.search(line))]
    return [dead for pid, dead in ended.items() if pid not in closed] + signalled


def ended_or_closed(lines: Sequence[str]) -> set[str]:
    """Process ids of every rank that the launcher saw end badly, or ended itself."""
    return _closed(lines) | _ended(lines).keys()


def signal_name(number: int) -> str:
    """`SIGKILL`, for a real-time signal `signal 62`."""
    return next((known.name for known in signal.Signals if known == number), f"signal {number}")


def _closed(lines: Sequence[str]) -> set[str]:
    return {found[1] for line in lines if (found := _CLOSED.search(line))}


def _ended(lines: Sequence[str]) -> dict[str, DeadRank]:
    """By process id; the table at the end knows the ranks' numbers better than the line before it."""
    ended: dict[str, DeadRank] = {}
    rank = ""
    for line in lines:
        if found := _FAILED.search(line):
            ended.setdefault(found[3], DeadRank(f"rank {found[2]}", int(found[1])))
        elif found := _TABLE_RANK.match(line):
            rank = f"rank {found[1]}"
        elif found := _TABLE_EXIT.match(line):
            ended[found[2]] = DeadRank(rank, int(found[1]))
    return ended
