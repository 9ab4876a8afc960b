"""The probe of a rung with real ranks: works, fails, hangs; nothing is left running."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support.probing import habit
from trainrelay.errors import Interrupted, UserError
from trainrelay.records import ProbeResult
from trainrelay.supervise.probe import probe_rung, runner
from trainrelay.trainers import RUNGS, LaunchRequest, Rung

pytestmark = pytest.mark.process

torch = pytest.importorskip("torch")
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="what torch says where there is no GPU")
PLENTY_S = 300.0  # where no hang is meant


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "probe.log"


def probed(asked: LaunchRequest, rung: Rung, log: Path) -> ProbeResult:
    return probe_rung(asked, rung, log, deadline_s=PLENTY_S, stopped=lambda: False)


def says(log: Path, *words: str) -> bool:
    return log.exists() and all(word in log.read_text(errors="replace") for word in words)


def test_gloo_works_with_every_value_right_and_a_speed(asked: LaunchRequest, log: Path) -> None:
    log.parent.mkdir()
    log.write_text("of an earlier probe\n")
    result = probed(asked, RUNGS["gloo"], log)
    assert (result.rung, result.outcome, result.error) == ("gloo", "works", None)
    assert list(result.gb_per_s) == [1, 4]
    assert all(speed > 0 for speed in result.gb_per_s.values())
    assert says(log, '"rank": 0, "phase": "all_reduce 4 MB"', '"rank": 1, "phase": "barrier"')
    assert not says(log, "earlier")


@NO_GPU
def test_nccl_without_a_gpu_fails_with_torchs_own_words(asked: LaunchRequest, log: Path) -> None:
    result = probed(asked, RUNGS["nccl"], log)
    assert result.outcome == "fails"
    assert "NCCL" in (result.error or "")
    assert "Traceback" in log.read_text()


@NO_GPU
def test_a_stage_for_gpus_is_started_by_torchs_launcher(asked: LaunchRequest, log: Path) -> None:
    """gloo meets, and fails where the tensors should go to a GPU, in torch's own words."""
    result = probed(replace(asked, device="cuda"), RUNGS["gloo"], log)
    assert result.outcome == "fails"
    assert "CUDA" in (result.error or "") or "NVIDIA" in (result.error or "")
    assert says(log, "broadcast 25 MB")


def test_an_interface_that_does_not_exist_fails_in_gloos_own_words(asked: LaunchRequest, log: Path) -> None:
    result = probed(asked, Rung("gloo-x", "gloo", {"GLOO_SOCKET_IFNAME": "nothere0"}), log)
    assert result.outcome == "fails"
    assert "nothere0" in (result.error or "")


def test_a_sum_that_arrives_wrong_fails(asked: LaunchRequest, log: Path) -> None:
    """The ranks exchange everything without an error, and one value is off by one."""
    result = probed(asked, habit("corrupts"), log)
    assert result.outcome == "fails"
    assert result.error == (
        "WrongValuesError: all_reduce of 1 MB: 1 of 262144 values are wrong; the first, at position 7 of the"
        " tensor, is 25 and should be 24"
    )


def test_a_rank_that_crashes_is_named_and_not_the_one_that_lost_it(asked: LaunchRequest, log: Path) -> None:
    result = probed(asked, habit("crashes"), log)
    assert result.outcome == "fails"
    assert result.error == "rank 1 ended by SIGSEGV: ranks 0-1 in all_reduce 1 MB"


def test_a_hang_ends_at_the_deadline_with_the_phase_and_the_stack_of_each_rank(
    asked: LaunchRequest, log: Path
) -> None:
    """The clock moves only once both ranks have printed where they hang."""
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        text = log.read_text(errors="replace") if log.exists() else ""
        now_s += 1.0 if text.count("Timeout (") >= 2 and "in all_reduce" in text else 0.0
        return now_s

    result = probe_rung(asked, habit("sleeps"), log, deadline_s=6.0, stopped=lambda: False, clock=clock)
    assert result.outcome == "hangs"
    assert result.error == "no end after 6 s: ranks 0-1 in all_reduce 1 MB"
    assert result.seconds == 6.0


def test_a_gap_of_the_supervisor_itself_is_not_the_ranks_time(asked: LaunchRequest, log: Path) -> None:
    """A suspended job wakes up hours later, and the probe goes on."""
    readings_s = iter([0.0, 0.1, 20_000.0])
    last_s = 20_000.0

    def clock() -> float:
        nonlocal last_s
        last_s = next(readings_s, last_s)
        return last_s

    result = probe_rung(asked, RUNGS["gloo"], log, deadline_s=60.0, stopped=lambda: False, clock=clock)
    assert result.outcome == "works"


def test_a_stop_request_ends_a_probe_at_once(asked: LaunchRequest, log: Path) -> None:
    with pytest.raises(Interrupted, match="stopped on request while gloo-that-sleeps was probed"):
        probe_rung(
            asked,
            habit("sleeps"),
            log,
            deadline_s=PLENTY_S,
            stopped=lambda: says(log, '"rank": 1, "phase": "all_reduce 1 MB"'),
        )


def test_a_port_that_somebody_takes_says_nothing_of_the_rung(
    asked: LaunchRequest, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        ports = iter([other.getsockname()[1], runner.free_port()])
        monkeypatch.setattr(runner, "free_port", lambda: next(ports))
        assert probed(asked, RUNGS["gloo"], log).outcome == "works"
        assert next(ports, None) is None


@pytest.mark.parametrize(
    "broken", [{"interpreter": "no-such-python"}, {"root": "/no/such/folder"}], ids=["interpreter", "root"]
)
def test_what_cannot_be_started_is_one_sentence(
    asked: LaunchRequest, log: Path, broken: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=r"cannot probe gloo: .*no.such.*`interpreter`.* or that path's perm"):
        probed(replace(asked, **broken), RUNGS["gloo"], log)


def test_a_python_without_torch_fails_and_is_quoted(
    asked: LaunchRequest, log: Path, make_python: Callable[[str], str]
) -> None:
    python = make_python("echo 'No module named torch' >&2; exit 1")
    result = probed(replace(asked, interpreter=python), RUNGS["gloo"], log)
    assert result.error == "the launcher exited with status 1: No module named torch"


_LATE_LAUNCHER = """
echo 'trainrelay: {"rank": 0, "phase": "device", "error": "RuntimeError: closed by peer", "at_s": 1.0}'
sleep 0.5
echo 'failed (exitcode: -11) local_rank: 1 (pid: 99)'
exit 1
"""


def test_after_an_error_the_launcher_is_heard_out(
    asked: LaunchRequest, log: Path, make_python: Callable[[str], str]
) -> None:
    """The rank that lost another one is heard first; that the other crashed is what counts."""
    result = probed(replace(asked, interpreter=make_python(_LATE_LAUNCHER)), RUNGS["gloo"], log)
    assert result.error == "rank 1 ended by SIGSEGV: rank 0 in device, rank 1 not started"


@pytest.fixture
def make_python(tmp_path: Path) -> Callable[[str], str]:
    """An interpreter that is a shell script."""

    def make(text: str) -> str:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.mark.skipif(torch.cuda.device_count() != 1, reason="needs a machine with exactly one GPU")
def test_two_ranks_on_one_gpu_are_refused_by_nccl_and_talk_through_gloo(
    asked: LaunchRequest, log: Path
) -> None:
    on_gpu = replace(asked, device="cuda")
    refused = probed(on_gpu, RUNGS["nccl"], log)
    assert refused.outcome == "fails"
    assert "Duplicate GPU detected" in (refused.error or "")
    works = probed(on_gpu, RUNGS["gloo"], log)
    assert (works.outcome, works.error) == ("works", None)
    assert list(works.gb_per_s) == [25, 256]
