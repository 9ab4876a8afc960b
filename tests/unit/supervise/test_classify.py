"""The end of a training, read from what real trainers printed (torch 2.13, two ranks)."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from trainrelay.command import StepSeen
from trainrelay.records import CheckpointFacts, FileDigest
from trainrelay.supervise.classify import Evidence, classify

LOGS = Path(__file__).parent / "torch-2.13"
STEP = StepSeen(epoch=2, iteration=40, iters_per_epoch=100, loss=1.5, eta_s=None)


def final(finite: bool = True) -> CheckpointFacts:
    file = FileDigest(path="/opt/trainer/epoch_3.pth", sha256="0" * 64, size=1)
    bad = None if finite else "head.weight"
    return CheckpointFacts(
        file=file, epoch=3, iteration=30, tensors=1, parameters=1, finite=finite, first_non_finite=bad
    )


def failed(text: str, status: int = 1, step: StepSeen | None = STEP) -> tuple[str, str]:
    return classify(Evidence(exit_status=status, epochs=3, lines=text.splitlines(), last_step=step))


REAL = [
    ("rank-sigkilled", "killed", "rank 1 was ended by SIGKILL"),
    ("rank-sigterm", "killed", "rank 1 was ended by SIGTERM"),
    ("rank-raises", "trainer-bug", "rank 1: KeyError: 'img_metas'"),
    ("rank-exits-3", "trainer-bug", "rank 1 exited with status 3"),
    ("rank-out-of-gpu-memory", "oom-gpu", "CUDA out of memory. Tried to allocate 2.00 GiB"),
    ("disk-full-write", "disk-full", "No space left on device"),
    ("disk-full-torch-save", "disk-full", "iostream error"),
    ("data-worker-sigkilled", "killed", "a data worker vanished"),
    ("data-worker-raises", "trainer-bug", "FileNotFoundError: no such image"),
    ("nccl-on-cpu", "comm", "doesn't have NCCL built in"),
    ("gloo-timeout", "comm", "Timed out waiting 3000ms"),
    ("port-taken", "comm", "EADDRINUSE"),
]
# With ranks unnamed the failures of one process cannot be told from another's, but the order still can.
UNPREFIXED = re.compile(r"^\[rank\d\]: ", re.MULTILINE)


@pytest.mark.parametrize(("log", "kind", "evidence"), REAL)
def test_real_end_has_its_class_and_its_evidence(log: str, kind: str, evidence: str) -> None:
    """What torch 2.13 printed is classified by its cause, and the cause is quoted."""
    end, reason = failed((LOGS / f"{log}.txt").read_text())
    assert (end, evidence in reason) == (kind, True), reason


@pytest.mark.parametrize(("log", "kind", "evidence"), REAL)
def test_real_end_has_its_class_without_rank_prefixes(log: str, kind: str, evidence: str) -> None:
    """Older launchers do not say which rank wrote a line; the class is the same."""
    end, _ = failed(UNPREFIXED.sub("", (LOGS / f"{log}.txt").read_text()))
    assert end == kind


def traceback(error: str, frame: str = "/opt/trainer/tools/train.py") -> str:
    return f'Traceback (most recent call last):\n  File "{frame}", line 1, in main\n    step()\n{error}\n'


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", "oom-gpu"),
        ("RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 44.35 GiB total)", "oom-gpu"),
        ("RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. ", "oom-host"),
        (
            "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Bus error. It is possible",
            "oom-host",
        ),
        ("RuntimeError: DataLoader worker (pid 4711) is killed by signal: Terminated. ", "killed"),
        ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Segmentation fault. ", "trainer-bug"),
        ("MemoryError", "oom-host"),
        ("OSError: [Errno 12] Cannot allocate memory", "oom-host"),
        ("RuntimeError: unable to write to file </torch_12_34>: No space left on device (28)", "oom-host"),
        ("OSError: [Errno 122] Disk quota exceeded: './work_dirs/epoch_3.pth'", "disk-full"),
        ("OSError: [Errno 27] File too large", "disk-full"),
        ("FloatingPointError: Loss became infinite or NaN at iteration=12!", "diverged"),
        ("ValueError: Loss is nan, stopping training", "diverged"),
        ("AssertionError: the gradient norm is not finite", "diverged"),
        ("RuntimeError: NCCL error in: ../ProcessGroupNCCL.cpp:1191, unhandled system error", "comm"),
        ("RuntimeError: ProcessGroupNCCL is only supported with GPUs, no GPUs found!", "comm"),
        (
            "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:589] Read error [::1]:4: reset",
            "comm",
        ),
        ("requests.exceptions.ConnectionError: connection refused", "trainer-bug"),
        ("KeyError: 'the gloomy key'", "trainer-bug"),
        ("KeyboardInterrupt", "killed"),
        ("cv2.error: OpenCV(4.5.5) imread", "trainer-bug"),
    ],
)
def test_exception_has_its_class(error: str, kind: str) -> None:
    """The text of an exception decides, where it is one that is known."""
    assert failed(traceback(error))[0] == kind


def test_lost_connection_counts_as_communication_only_inside_torch_distributed() -> None:
    """The same words are communication between ranks or a failed download, depending on the traceback."""
    words = "RuntimeError: Connection reset by peer"
    assert failed(traceback(words, "/opt/torch/distributed/distributed_c10d.py"))[0] == "comm"
    assert failed(traceback(words, "/opt/urllib3/connection.py"))[0] == "trainer-bug"


def test_communication_that_came_first_is_the_cause() -> None:
    """What other ranks raise because communication broke does not hide that it broke."""
    text = traceback("RuntimeError: NCCL error in: unhandled system error") + traceback("EOFError")
    assert failed(text)[0] == "comm"


def test_ncclss_watchdog_is_communication_though_it_aborts_the_rank() -> None:
    """SIGABRT after NCCL's watchdog is communication; SIGABRT alone is the trainer's."""
    table = "failed (exitcode: -6) local_rank: 3 (pid: 99) of binary: python"
    watchdog = "[rank3]:[E ProcessGroupNCCL.cpp:607] [Rank 3] Watchdog caught collective operation timeout: x"
    assert failed(f"{watchdog}\n{table}")[0] == "comm"
    assert failed(table)[0] == "trainer-bug"


def test_ignored_exception_is_not_a_cause() -> None:
    """Python's "Exception ignored in" reports what harmed nobody."""
    text = "Exception ignored in: <function __del__>\n" + traceback("AttributeError: x")
    kind, reason = failed(text + traceback("OSError: [Errno 28] No space left on device"))
    assert kind == "disk-full", reason


def test_all_epochs_and_a_sound_final_checkpoint_are_done() -> None:
    """Exit 0 with the last epoch's checkpoint is the one way to be done, a late wish to stop included."""
    for stopped in (False, True):
        evidence = Evidence(exit_status=0, epochs=3, final_checkpoint=final(), stop_requested=stopped)
        assert classify(evidence).kind == "done"


def test_exit_0_without_the_final_checkpoint_is_unfinished() -> None:
    """A trainer that exits 0 early is not believed; the reason says how far it came."""
    end = classify(Evidence(exit_status=0, epochs=3, last_step=STEP))
    assert end.kind == "unfinished"
    assert "epoch 2, iteration 40" in end.reason
    assert "epoch 3 is missing" in end.reason


def test_final_checkpoint_with_non_finite_weights_is_diverged() -> None:
    """Weights that are not numbers are not a finished training."""
    end = classify(Evidence(exit_status=0, epochs=3, final_checkpoint=final(finite=False)))
    assert (end.kind, "head.weight" in end.reason) == ("diverged", True)


def test_crash_with_a_nan_loss_is_diverged() -> None:
    """An exception of any kind after a loss that is not finite is divergence."""
    step = StepSeen(2, 40, 100, math.nan, None)
    assert failed(traceback("AssertionError: boxes"), step=step)[0] == "diverged"


def test_stop_on_request_is_interrupted_whatever_the_ranks_print() -> None:
    """Ranks that are ended print errors; they are ours."""
    lines = (LOGS / "rank-sigterm.txt").read_text().splitlines()
    assert classify(Evidence(exit_status=1, epochs=3, lines=lines, stop_requested=True)).kind == "interrupted"


def test_not_resumed_comes_before_everything() -> None:
    """A training from zero is refused even where it then finished."""
    evidence = Evidence(exit_status=0, epochs=3, final_checkpoint=final(), not_resumed="from zero")
    assert classify(evidence) == ("not-resumed", "from zero")


@pytest.mark.parametrize(("status", "signal_name"), [(-9, "SIGKILL"), (137, "SIGKILL"), (143, "SIGTERM")])
def test_launcher_ended_by_a_signal_is_killed(status: int, signal_name: str) -> None:
    """Signals are seen directly or as a shell reports them."""
    kind, reason = failed("", status)
    assert (kind, signal_name in reason) == ("killed", True)


def test_launcher_that_crashed_is_a_bug() -> None:
    """A segmentation fault comes from inside."""
    assert failed("", -11) == ("trainer-bug", "the launcher crashed with SIGSEGV")


def test_unknown_end_quotes_the_last_line_without_terminal_escapes() -> None:
    """Whatever a log ends with is safe to print."""
    kind, reason = failed("error: no such option\x1b[2J --frobnicate\n\n")
    assert kind == "trainer-bug"
    assert "no such option" in reason
    assert "\x1b" not in reason
    assert len(failed("x" * 100_000)[1]) < 500
