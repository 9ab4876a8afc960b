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
# Below a traceback any class name counts: `KeyError`, `socket.timeout`, but not a stray word.
_EXCEPTION = re.compile(r"^((?:[A-Za-z_]\w*\.)+\w+|_?[A-Z]\w*)(?:: (.*))?$")
_NAMED_EXCEPTION = re.compile(r"^((?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|Interrupt))(?:: (.*))?$")
_TERMINATE = re.compile(r"^\s*what\(\):\s+(.*)$")
_WATCHDOG = re.compile(r"Watchdog caught collective operation timeout.*")
_IGNORED = "Exception ignored in"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_WORKER_REPORT = "Caught "  # torch repeats a data worker's traceback below this line

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
        prefix = _RANK.match(line)
        rank = f"rank {prefix[1]}" if prefix else UNNAMED
        streams.setdefault(rank, []).append((number, line[prefix.end() :] if prefix else line))
    found = [item for rank, stream in streams.items() for item in _of_stream(rank, stream)]
    return [exception for _, exception in sorted(found, key=lambda item: item[0])]


def _of_stream(rank: str, stream: Sequence[tuple[int, str]]) -> Iterator[tuple[int, LoggedError]]:
    """The exceptions of one rank: a small state machine over its lines, clearer in one piece."""
    frames: list[str] | None = None  # not None: inside a traceback
    chained = ignored = False
    began = 0
    for number, line in stream:
        if line.startswith(_CHAINED):
            chained = True
        elif line.startswith(_IGNORED):
            ignored = True
        elif _HEADER in line:
            frames, began = [], number
        elif frames is not None and (line[:1].isspace() or not line.strip()):
            frames.append(line)
        elif exception := _exception(line, inside=frames is not None):
            name, message = exception
            if not (chained or ignored or message.startswith(_WORKER_REPORT)):
                yield began if frames else number, LoggedError(rank, name, message, "\n".join(frames or ()))
            frames, chained, ignored = None, False, False


def _exception(line: str, *, inside: bool) -> tuple[str, str] | None:
    if found := (_EXCEPTION if inside else _NAMED_EXCEPTION).match(line):
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
