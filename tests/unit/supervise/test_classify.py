"""How a training ended: the order in which evidence is believed, one sentence of it at a time."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from traceback import format_exception

import pytest
import yaml

from trainrelay.records import CheckpointFacts, FileDigest
from trainrelay.supervise.classify import Evidence, classify
from trainrelay.trainers import StepSeen

STEP = StepSeen(epoch=2, iteration=40, iters_per_epoch=100, loss=1.5, eta_s=None)


def final(finite: bool = True) -> CheckpointFacts:
    file = FileDigest(path="/opt/trainer/epoch_3.pth", sha256="0" * 64, size=1)
    bad = None if finite else "head.weight"
    return CheckpointFacts(
        file=file, epoch=3, iteration=30, tensors=1, parameters=1, finite=finite, first_non_finite=bad
    )


def failed(text: str, status: int = 1, step: StepSeen | None = STEP) -> tuple[str, str]:
    return classify(Evidence(exit_status=status, asked=3, lines=text.splitlines(), last_step=step))


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
        ("OSError: [Errno 30] Read-only file system: './work_dirs/uniad.py'", "disk-full"),
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
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", "node"),
        (
            "torch.AcceleratorError: CUDA error: uncorrectable NVLink error detected during the execution",
            "node",
        ),
        ("RuntimeError: CUDA error: unspecified launch failure", "trainer-bug"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "trainer-bug"),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "oom-gpu"),
        ("OSError: [Errno 98] Address already in use", "trainer-bug"),
        ("RuntimeError: NCCL error: shared memory segment /dev/shm/nccl-x: No space left on device", "comm"),
    ],
)
def test_exception_has_its_class(error: str, kind: str) -> None:
    """The text of an exception decides, where it is one that is known."""
    assert failed(traceback(error))[0] == kind


@pytest.mark.process  # importing torch may ask the machine
def test_a_checkpoint_that_newer_torch_does_not_load_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """As a DETR of before torch 2.6 loads its own, which holds its arguments."""
    torch = pytest.importorskip("torch", minversion="2.6")
    # The demo's trainer, imported by another test of this process, allows what DETR's holds.
    request.addfinalizer(
        partial(torch.serialization.add_safe_globals, torch.serialization.get_safe_globals())
    )
    torch.serialization.clear_safe_globals()
    torch.save({"args": argparse.Namespace(lr=0.1)}, tmp_path / "checkpoint.pth")
    with pytest.raises(UnpicklingError) as caught:
        torch.load(tmp_path / "checkpoint.pth")
    kind, reason = failed("".join(format_exception(caught.value)))
    assert kind == "trainer-bug"
    found = re.search(r"`env: ({.*})` for the trainer in the config$", reason)
    assert found, reason
    for name, value in yaml.safe_load(found[1]).items():
        monkeypatch.setenv(name, value)
    assert torch.load(tmp_path / "checkpoint.pth")["args"].lr == 0.1


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


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("NVRM: Xid (PCI:0000:10:1c): 79, pid=1896, GPU has fallen off the bus.", "node"),
        ("kernel: NVRM: Xid (PCI:0000:3b:00): 48, pid=7, An uncorrectable double bit error (DBE)", "node"),
        ("XID 64 Dynamic Page Retirement: Fatal error, unable to retire page (0x1)", "node"),
        ("node1:7:7 [0] NCCL WARN Cuda failure 214 'uncorrectable ECC error encountered'", "node"),
        ("NVRM: Xid (PCI:0000:10:1c): 31, pid=1896, MMU Fault", "comm"),
        ("NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, Row Remapper: New row marked for remapping", "comm"),
        ("NVRM: Xid (PCI:0000:10:1c): 4879, pid=1896", "comm"),
        ("1 ECC error was corrected on GPU 3", "comm"),
        ("Uncorrectable ECC errors: 0", "comm"),
        ("0 uncorrectable ECC errors", "comm"),
    ],
)
def test_a_line_that_a_gpu_failed_is_the_cause_of_what_the_ranks_then_raise(line: str, kind: str) -> None:
    """What a GPU corrected, what the trainer itself may have done and a count of errors are not."""
    error = traceback("RuntimeError: CUDA error: unspecified launch failure") if kind == "node" else ""
    comm = traceback("RuntimeError: NCCL error in: unhandled system error")
    assert failed(f"{line}\n{comm}{error}")[0] == kind
    assert failed(f"{comm}{error}{line}")[0] == kind


def test_a_training_that_ended_well_or_on_request_does_not_blame_its_node() -> None:
    lines = ("NVRM: Xid (PCI:0000:10:1c): 79, GPU has fallen off the bus.",)
    assert classify(Evidence(exit_status=0, asked=3, lines=lines, final_checkpoint=final())).kind == "done"
    assert classify(Evidence(1, 3, lines, stop_requested=True)).kind == "interrupted"


def ranks(*errors: tuple[int, str]) -> str:
    """Tracebacks as torch 2.13 prints them, each line with its rank in front."""
    return "".join(
        f"[rank{rank}]: {line}\n" for rank, error in errors for line in traceback(error).splitlines()
    )


def test_exception_of_another_rank_is_the_cause_though_it_is_printed_later() -> None:
    """A rank that lets go of the others before it says why does not make the end communication."""
    lost = "RuntimeError: NCCL error in: unhandled system error"
    assert failed(ranks((0, lost), (1, "KeyError: 'gt'")))[0] == "trainer-bug"
    assert failed(traceback(lost) + traceback("KeyError: 'gt'"))[0] == "trainer-bug"


def test_exception_of_a_rank_that_was_cut_off_follows_from_it() -> None:
    """What a rank raises after it had lost the others is no cause."""
    assert failed(ranks((0, "RuntimeError: NCCL error in: x"), (0, "AttributeError: closed")))[0] == "comm"


def test_killed_rank_is_the_cause_of_what_the_others_say_after_communication_broke() -> None:
    """An exception that was the first of all comes before a signal, a later one does not."""
    lost, table = (
        "RuntimeError: NCCL error in: x",
        "failed (exitcode: -9) local_rank: 2 (pid: 99) of binary: p",
    )
    assert failed(ranks((0, lost), (1, "KeyError: 'gt'")) + table)[0] == "killed"
    assert failed(ranks((1, "KeyError: 'gt'"), (0, lost)) + table)[0] == "trainer-bug"


def test_abort_of_a_rank_is_its_own_where_another_rank_speaks_of_communication() -> None:
    """SIGABRT counts as the end that NCCL's watchdog makes only for the rank that said so."""
    table = "failed (exitcode: -6) local_rank: 1 (pid: 99) of binary: python"
    lost = "RuntimeError: [../gloo/transport/tcp/pair.cc:598] Connection closed by peer [127.0.0.1]:4"
    assert failed(ranks((0, lost)) + table)[0] == "trainer-bug"
    assert failed(ranks((1, lost)) + table)[0] == "comm"


def test_ranks_that_the_launcher_does_not_name_count_only_where_their_number_is_known() -> None:
    """Without it, or without a word of the launcher, nobody is said to have left early."""
    lost = traceback("RuntimeError: NCCL error in: x")
    table = "failed (exitcode: 1) local_rank: 0 (pid: 99) of binary: python"
    kinds = {
        (text, ranks): classify(Evidence(1, 3, text.splitlines(), local_ranks=ranks)).kind
        for text in (lost, lost + table)
        for ranks in (None, 1, 2)
    }
    assert {key for key, kind in kinds.items() if kind == "unfinished"} == {(lost + table, 2)}
    assert set(kinds.values()) == {"comm", "unfinished"}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Loss is nan, stopping training", "diverged"),
        ("Loss is -inf, stopping training", "diverged"),
        ("grad_norm became inf: aborting", "diverged"),
        ("the loss scale fell, grads were inf, skipping this step", "comm"),
    ],
)
def test_trainer_that_stops_for_its_loss_has_diverged_whatever_other_ranks_raise(
    line: str, kind: str
) -> None:
    """The others lose the connection; their words do not hide it, and a skipped step is no such end."""
    assert failed(traceback("RuntimeError: NCCL error in: x") + line)[0] == kind


def test_ignored_exception_is_not_a_cause() -> None:
    """Python's "Exception ignored in" reports what harmed nobody."""
    text = "Exception ignored in: <function __del__>\n" + traceback("AttributeError: x")
    kind, reason = failed(text + traceback("OSError: [Errno 28] No space left on device"))
    assert kind == "disk-full", reason


def test_all_epochs_and_a_sound_final_checkpoint_are_done() -> None:
    """Exit 0 with the last epoch's checkpoint is the one way to be done, a late wish to stop included."""
    for stopped in (False, True):
        evidence = Evidence(exit_status=0, asked=3, final_checkpoint=final(), stop_requested=stopped)
        assert classify(evidence).kind == "done"


def test_exit_0_without_the_final_checkpoint_is_unfinished() -> None:
    """A trainer that exits 0 early is not believed; the reason says how far it came."""
    end = classify(Evidence(exit_status=0, asked=3, last_step=STEP))
    assert end.kind == "unfinished"
    assert "in epoch 2, after iteration 40" in end.reason
    assert "epoch 3 is missing" in end.reason


def test_final_checkpoint_with_non_finite_weights_is_diverged() -> None:
    """Weights that are not numbers are not a finished training."""
    end = classify(Evidence(exit_status=0, asked=3, final_checkpoint=final(finite=False)))
    assert (end.kind, "head.weight" in end.reason) == ("diverged", True)


def test_crash_with_a_nan_loss_is_diverged() -> None:
    """An exception of any kind after a loss that is not finite is divergence."""
    step = StepSeen(2, 40, 100, math.nan, None)
    assert failed(traceback("AssertionError: boxes"), step=step)[0] == "diverged"


INVALID = "ValueError: matrix contains invalid numeric entries"


def test_crash_after_a_nan_gradient_norm_is_diverged() -> None:
    """UniAD passes its losses through nan_to_num, so that the norm is the only witness."""
    error = "IndexError: index 9 is out of bounds"
    kind, reason = failed(traceback(error), step=replace(STEP, loss=0.0, grad_norm=math.nan))
    assert (kind, error in reason) == ("diverged", True)
    assert reason.startswith("the gradient norm was NaN in epoch 2, after iteration 40; ")
    assert failed("", step=replace(STEP, grad_norm=math.nan))[0] == "diverged"


@pytest.mark.parametrize("norm", [None, 35.0, math.inf])
def test_crash_after_a_norm_that_a_scaler_brings_about_stays_the_trainers(norm: float | None) -> None:
    """An infinite norm is an overflow that the loss scaler skips."""
    assert failed(traceback("KeyError: 3"), step=replace(STEP, grad_norm=norm))[0] == "trainer-bug"
    assert failed(traceback("ValueError: matrix contains 3 rows"), step=replace(STEP))[0] == "trainer-bug"


@pytest.mark.parametrize("norm", [None, 35.0, math.inf])
def test_the_matching_says_itself_that_its_costs_are_nan(norm: float | None) -> None:
    """DETR and UniAD: it may come first between two progress lines, while other ranks lose the connection."""
    text = traceback("RuntimeError: NCCL error in: x") + traceback(INVALID)
    kind, reason = failed(text, step=replace(STEP, grad_norm=norm))
    assert (kind, INVALID in reason) == ("diverged", True)


@pytest.mark.parametrize(
    ("error", "kind"),
    [("RuntimeError: CUDA out of memory. Tried", "oom-gpu"), ("RuntimeError: NCCL error in: x", "comm")],
)
def test_a_crash_that_names_its_cause_is_believed_before_a_nan_norm(error: str, kind: str) -> None:
    """A single NaN may be a skipped step; memory and communication fail for reasons of their own."""
    assert failed(traceback(error), step=replace(STEP, grad_norm=math.nan))[0] == kind


def test_stop_on_request_is_interrupted_whatever_the_ranks_print() -> None:
    """Ranks that are ended print errors; they are ours."""
    lines = traceback("RuntimeError: NCCL error in: unhandled system error").splitlines()
    assert classify(Evidence(exit_status=1, asked=3, lines=lines, stop_requested=True)).kind == "interrupted"


def test_those_who_ended_the_attempt_are_believed_before_its_log() -> None:
    """An ignored resume, then a loss that stays NaN, both even where it finished; then the watchdog."""
    evidence = Evidence(exit_status=0, asked=3, hang="no step in 90 s")
    assert classify(evidence) == ("hang", "no step in 90 s")
    evidence = replace(evidence, final_checkpoint=final())
    evidence = replace(evidence, diverged="the loss was not finite")
    assert classify(evidence) == ("diverged", "the loss was not finite")
    evidence = replace(evidence, not_resumed="from zero")
    assert classify(evidence) == ("not-resumed", "from zero")


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({}, None),
        ({"exit_status": 1, "lines": ["Traceback (most recent call last):", "KeyError: 3"]}, "KeyError: 3"),
        ({"exit_status": -9}, "its command was ended by SIGKILL"),
        ({"exit_status": -15, "stop_requested": True, "last_step": STEP}, "stopped on request"),
        ({"exit_status": -9, "hang": "no progress for 31 min"}, "no progress for 31 min"),
        ({"unproved": "its log never says that it resumed"}, "its log never says that it resumed"),
    ],
)
def test_a_finished_training_is_done_however_its_trainer_ended(
    changes: dict[str, object], warning: str | None
) -> None:
    """The last epoch's valid checkpoint decides; the rest is a warning."""
    evidence = replace(Evidence(exit_status=0, asked=3, final_checkpoint=final()), **changes)  # type: ignore[arg-type]
    kind, reason = classify(evidence)
    assert kind == "done"
    assert reason.startswith("3 of 3 epochs trained")
    assert (
        reason == "3 of 3 epochs trained"
        if warning is None
        else "; warning: " in reason and warning in reason
    )
    assert classify(replace(evidence, final_checkpoint=final(finite=False))).kind == "diverged"


@pytest.mark.parametrize(("status", "signal_name"), [(-9, "SIGKILL"), (137, "SIGKILL"), (143, "SIGTERM")])
def test_launcher_ended_by_a_signal_is_killed(status: int, signal_name: str) -> None:
    """Signals are seen directly or as a shell reports them."""
    kind, reason = failed("", status)
    assert (kind, signal_name in reason) == ("killed", True)


def test_launcher_that_crashed_is_a_bug() -> None:
    """A segmentation fault comes from inside."""
    assert failed("", -11) == ("trainer-bug", "its command crashed with SIGSEGV")


def test_unknown_end_quotes_the_last_line_without_terminal_escapes() -> None:
    """Whatever a log ends with is safe to print."""
    kind, reason = failed("error: no such option\x1b[2J --frobnicate\n\n")
    assert kind == "trainer-bug"
    assert "no such option" in reason
    assert "\x1b" not in reason
    assert len(failed("x" * 100_000)[1]) < 500


def test_too_little_of_the_initial_checkpoint_is_a_startup_error_that_names_it() -> None:
    """As the hook's exception, on each of two ranks."""
    said = "trainrelay stopped before the first optimizer step: 37.69 % of the model's parameters came"
    error = f"trainrelay_hook.initial_weights.InitialTooDifferent: {said}"
    end = failed(traceback(error) * 2, step=None)
    assert (end[0], said in end[1]) == ("trainer-bug", True)
