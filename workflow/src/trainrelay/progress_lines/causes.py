"""What the text of a failure is about (pure); spellings of torch 1.9 to 2.13."""

from __future__ import annotations

import re

from trainrelay.progress_lines.tracebacks import CONSEQUENCE, LoggedError
from trainrelay.records import EndClass

_COMM = re.compile(
    r"NCCL|nccl[A-Z]|gloo/|Gloo |EADDRINUSE|DistNetworkError|DistStoreError|DistBackendError|TCPStore"
    r"|ProcessGroup|Rendezvous\w*Error|collective operation timeout|Duplicate GPU detected",
)
# Only where the traceback leads into torch.distributed: a download can lose its connection as well.
_COMM_IF_DISTRIBUTED = re.compile(
    r"connection (closed|refused|reset|timed out)|address already in use|broken pipe|socket timeout"
    r"|timed out|failed to (bind|listen)",
    re.IGNORECASE,
)
_DISTRIBUTED = re.compile(r"torch/distributed/|torch/lib/c10d")
_PORT = re.compile(r"EADDRINUSE|address already in use|failed to (bind|listen)", re.IGNORECASE)
# A rung without shared memory cures this: it is a failure of the rung, not of the host's memory.
_NCCL_SHARED_MEMORY = re.compile(r"/shm/nccl-")

_CAUSES: dict[EndClass, re.Pattern[str]] = {
    # NVIDIA's Xid catalog: those after which a GPU needs a reset or a repair; 13, 31, 43 and 45 may be the
    # trainer's own. What a GPU corrected is none of them, nor is a count of errors.
    "node": re.compile(
        r"\buncorrectable (ECC|NVLink) error (encountered|detected)|CUDA error: uncorrectable"
        r"|fallen off the bus|\bXid[: ]{1,2}(\([^)]{1,40}\): ?)?(48|62|64|74|79|95|119|120|140)\b",
        re.IGNORECASE,
    ),
    "oom-gpu": re.compile(
        r"(CUDA|HIP) out of memory|CUDA error: out of memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
        r"|Cuda failure .{0,8}out of memory"
    ),
    "oom-host": re.compile(
        r"^MemoryError|Cannot allocate memory|DefaultCPUAllocator: (can't|not enough)|std::bad_alloc"
        r"|insufficient shared memory|(shm|/torch_\w+).*No space left on device"
        r"|DataLoader worker .*killed by signal: (Killed|Bus error)"
    ),
    # The last three are how torch.save reports a write that the disk did not take.
    "disk-full": re.compile(
        r"No space left on device|Disk quota exceeded|File too large|Read-only file system|iostream error"
        r"|inline_container\.cc.*unexpected pos|PytorchStreamWriter failed writing"
    ),
    "diverged": re.compile(
        r"FloatingPointError|\b(nan|inf) or (nan|inf)\b|\b(not|non-?) ?finite\b"
        r"|\b(loss|grad\w*|norm|weights?)\b.{0,40}\b(is|are|has|contains?|became)\b.{0,20}\b(nan|inf)\b"
        r"|returned (nan|inf) values|loss scale already at minimum|minimum loss scale reached"
        # SciPy's matching, of a cost matrix with NaN (DETR, UniAD); no norm need be printed in between.
        r"|matrix contains invalid numeric entries",
        re.IGNORECASE,
    ),
    "killed": re.compile(
        r"^KeyboardInterrupt|SignalException|killed by signal: Terminated"
        r"|terminated with signal SIG(KILL|TERM|INT|HUP|USR2)$"  # a rank under torch's mp.spawn
    ),
}
_STOPS_AT_NAN = re.compile(
    r"\b(loss|grad\w*)\b.{0,40}\b(nan|inf)\b.{0,20}\b(stopping|aborting|exiting)\b", re.IGNORECASE
)


def class_of(text: str) -> EndClass | None:
    """The class of a failure that is not communication; None if the text names no known cause."""
    if _NCCL_SHARED_MEMORY.search(text):
        return None
    return next((kind for kind, pattern in _CAUSES.items() if pattern.search(text)), None)


def is_comm(error: LoggedError) -> bool:
    """Whether an exception is about communication between ranks."""
    if class_of(error.text) in ("node", "oom-gpu", "oom-host", "disk-full"):
        return False
    if _COMM.search(error.text):
        return True
    return bool(_COMM_IF_DISTRIBUTED.search(error.text) and _DISTRIBUTED.search(error.frames))


def is_port(error: LoggedError) -> bool:
    """Whether an exception says that the ranks could not meet because their port was taken."""
    return is_comm(error) and bool(_PORT.search(error.text))


def stops_at_nan(line: str) -> bool:
    """Whether a trainer says that it ends for its loss, as DETR's does: "Loss is nan, stopping training"."""
    return bool(_STOPS_AT_NAN.search(line))


# Lines that are no exception, by which a log ends: Slurm's, the shell's, and those of torch's own threads.
_LAST_WORDS: dict[EndClass, re.Pattern[str]] = {
    "time-limit": re.compile(r"^slurmstepd(-\S+)?: .*DUE TO TIME LIMIT"),
    "preempted": re.compile(r"^slurmstepd(-\S+)?: .*DUE TO PREEMPTION"),
    "node": re.compile(r"^slurmstepd(-\S+)?: .*DUE TO NODE FAILURE"),
    "oom-host": re.compile(
        r"^slurmstepd(-\S+)?: .*(oom.?kill event|exceeded (job|step)? ?memory limit)"
        r"|^srun: error: .*Out Of Memory",
        re.IGNORECASE,
    ),
    "killed": re.compile(
        r"^slurmstepd(-\S+)?: .*CANCELLED AT"
        r"|^(\S+: line \d+: +\d+ (Killed|Terminated)\b|(Killed|Terminated)$)"
        r"|^rank \d+ was ended by SIG(KILL|TERM|INT|HUP|USR2)$"
        r"|Main process received SIG(INT|TERM), exiting"  # DeepSpeed's launcher
    ),
    "trainer-bug": re.compile(
        r"^(\S+: line \d+: +\d+ )?(Segmentation fault|Bus error|Aborted)( +\(core dumped\)| {2}.*)?$"
    ),
    "comm": re.compile(
        r"Watchdog caught collective operation timeout|Some NCCL operations have failed or timed out"
        r"|^(\[\S+\] )?Timed out waiting \d+ms for (send|recv) operation"
    ),
    "diverged": _STOPS_AT_NAN,
}


def last_words(line: str) -> EndClass | None:
    """The end of which a line that is no exception speaks."""
    return next((kind for kind, pattern in _LAST_WORDS.items() if pattern.search(line)), None)


def end_of(text: str) -> EndClass:
    """The end that a logged error means, where nothing but its text is known."""
    comm = is_comm(LoggedError("", "", text))
    return last_words(text) or class_of(text) or ("comm" if comm else "trainer-bug")


def explains(text: str) -> int:
    """How much a logged error explains: a cause more than communication that broke, which may follow from it;
    a rank's exit status less, and the launcher's report least."""
    if CONSEQUENCE.search(text.partition(":")[0]):
        return 0
    if _EXITED.match(text):
        return 1
    return 2 if end_of(text) == "comm" else 3


_EXITED = re.compile(r"rank \d+ (exited with status \d+|was ended by SIGABRT)$|\S+: line \d+: +\d+ Killed\b")
