"""Stacks of real processes: taken without harm, in bounded time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support.supervising import eventually
from trainrelay.supervise.hangs import StackFile, describe_stacks, save_stacks, stacks, with_stack_dumps
from trainrelay.supervise.hangs.dumps import STACK_SIGNAL
from trainrelay.supervise.hangs.stacks import ProcessSnapshot
from trainrelay.supervise.process import end_all, start
from trainrelay.system.alive import Kin, find

pytestmark = pytest.mark.process

PYTHON = sys.executable
RANKS = Path(__file__).parents[3] / "support" / "hanging_ranks.py"
WAITING = "import time\ndef stuck_here():\n    print('up', flush=True)\n    time.sleep(600)\n"


@pytest.fixture
def tag() -> Iterator[str]:
    value = str(uuid.uuid4())
    yield value
    end_all(Kin(value), grace_s=0)


Python = Callable[..., int]


@pytest.fixture
def rank(tmp_path: Path, tag: str) -> Python:
    """Starts a rank that runs this code, and waits until it says `up`; its pid."""

    def started(code: str, number: int = 0, *, able: bool = True) -> int:
        log = tmp_path / f"log-{number}"
        env = {"RANK": str(number), "LOCAL_RANK": str(number), "PYTHONPATH": ""}
        env = with_stack_dumps(env) if able else env
        launched = start([PYTHON, "-c", code], env, str(tmp_path), log, tag)
        eventually(lambda: "up" in log.read_text() or launched.poll() is not None)
        assert launched.poll() is None, log.read_text()
        return launched.pid

    return started


def pending(pid: int) -> bool:
    """Whether the signal that asks for stacks waits for a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return any(int(mask, 16) >> (STACK_SIGNAL - 1) & 1 for mask in masks)


# ---------------------------------------------------------------------- real ranks


def test_stacks_name_the_function_that_each_rank_and_worker_hangs_in(tmp_path: Path, tag: str) -> None:
    """Two gloo ranks, one of them elsewhere: both places are named, nobody is ended, workers have a file."""
    pytest.importorskip("torch")
    argv = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", str(RANKS)]
    env = with_stack_dumps({"OMP_NUM_THREADS": "1"})
    launcher = start(argv, env, str(tmp_path), tmp_path / "log", tag)

    def hung() -> list[StackFile] | None:
        found = save_stacks(Kin(tag), tmp_path / "stacks")
        frames = {stack.process.rank: stack.frame or "" for stack in found if stack.process.is_rank}
        both = frames.get(0, "").startswith("all_reduce ") and frames.get(1, "").startswith("stuck_here ")
        # On a busy machine a data worker may be born later than its rank hangs.
        all_there = {member.pid for member in find(Kin(tag))} == {stack.process.pid for stack in found}
        return found if both and all_there else None

    found = eventually(hung)
    assert launcher.poll() is None
    assert [(stack.process.is_rank, stack.process.rank) for stack in found[:2]] == [(True, 0), (True, 1)]
    said = describe_stacks(found)
    assert "sleeping in stuck_here (hanging_ranks.py:" in said
    assert "sleeping in all_reduce (distributed_c10d.py:" in said
    worker = next(stack for stack in found if stack.process.rank == 0 and not stack.process.is_rank)
    assert worker.frame is not None
    assert worker.frame.startswith("loading_forever (hanging_ranks.py:")
    text = (tmp_path / "stacks" / "rank-1.txt").read_text()
    assert "in stuck_here" in text
    assert "loading_forever" not in (tmp_path / "stacks" / "rank-0.txt").read_text()
    launching = next(stack for stack in found if stack.process.pid == launcher.pid)
    assert (launching.process.rank, launching.frame) == (None, None)


def test_stopped_rank_is_reported_and_left_stopped(tmp_path: Path, tag: str, rank: Python) -> None:
    """SIGSTOP on a rank: it is neither continued nor left with a signal that waits for it."""
    pid = rank(WAITING + "stuck_here()")
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    (found,) = save_stacks(Kin(tag), tmp_path / "stacks")
    assert (found.process.state, found.frame) == ("stopped", None)
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    assert not pending(pid)
    assert f"rank 0 (pid {pid}) stopped" in describe_stacks([found])


def test_process_without_a_handler_survives(tmp_path: Path, tag: str, rank: Python) -> None:
    """What was started without the dumps gets no signal; the kernel's view stands in its file."""
    pid = rank(WAITING + "stuck_here()", able=False)
    (found,) = save_stacks(Kin(tag), tmp_path / "stacks")
    assert found.frame is None
    assert psutil.Process(pid).status() == psutil.STATUS_SLEEPING
    assert found.path is not None
    text = found.path.read_text()
    assert f"pid {pid}, rank 0, host " in text
    assert "state: sleeping; CPU time: " in text
    assert "no Python stacks" in text


def test_process_that_took_the_handler_away_survives(tmp_path: Path, tag: str, rank: Python) -> None:
    """Our file in memory alone is no reason to send the signal."""
    pid = rank(f"import signal; signal.signal({STACK_SIGNAL}, signal.SIG_DFL)\n" + WAITING + "stuck_here()")
    (found,) = save_stacks(Kin(tag), tmp_path / "stacks")
    assert found.frame is None
    assert psutil.Process(pid).status() == psutil.STATUS_SLEEPING


def test_foreign_handler_of_the_same_signal_is_not_called(tmp_path: Path, tag: str, rank: Python) -> None:
    """A trainer that uses this signal for something else does not hear it from us."""
    code = f"import signal, os; signal.signal({STACK_SIGNAL}, lambda *_: os._exit(3))\n"
    pid = rank(code + WAITING + "stuck_here()", able=False)
    (found,) = save_stacks(Kin(tag), tmp_path / "stacks")
    assert found.frame is None
    assert psutil.Process(pid).status() == psutil.STATUS_SLEEPING


def test_no_dump_goes_into_a_file_of_the_trainer(tmp_path: Path, tag: str, rank: Python) -> None:
    """A trainer that closed all inherited files may hold a checkpoint under the number of ours."""
    code = f"import os; os.closerange(3, 100)\nfile = open({str(tmp_path / 'epoch_1.pth')!r}, 'wb')\n"
    rank(code + WAITING + "stuck_here()")
    (found,) = save_stacks(Kin(tag), tmp_path / "stacks")
    assert found.frame is None
    assert (tmp_path / "epoch_1.pth").read_bytes() == b""


def test_second_look_shows_the_second_moment_alone(tmp_path: Path, tag: str, rank: Python) -> None:
    """What was printed for an earlier look is not told again."""
    rank(WAITING + "stuck_here()")
    for _ in range(2):
        (found,) = save_stacks(Kin(tag), tmp_path / "stacks")
        assert found.path is not None
        assert found.path.read_text().count("in stuck_here") == 1


def test_busy_rank_without_a_moment_for_python_is_seen(tmp_path: Path, tag: str, rank: Python) -> None:
    """The dump needs no interpreter: also what spins inside C is seen, and by the frame that called it."""
    code = "import re\ndef spinning():\n    print('up', flush=True)\n    re.match('(a*)*b', 'a' * 60)\n"
    rank(code + "spinning()")
    (found,) = save_stacks(Kin(tag), tmp_path / "stacks")
    assert found.process.state == "running"
    assert "in spinning" in (tmp_path / "stacks" / "rank-0.txt").read_text()


# ---------------------------------------------------------------------- bounds


def test_look_that_blocks_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading /proc can block on a process stuck inside the kernel: collect returns all the same."""
    release = threading.Event()
    monkeypatch.setattr(stacks, "snapshots", lambda _: release.wait() and [])
    assert save_stacks(Kin("tag"), tmp_path / "stacks", within_s=0.1) == []
    release.set()


def test_folder_that_cannot_be_written_costs_the_files_only(tmp_path: Path, tag: str, rank: Python) -> None:
    """On a full disk the message still says where the ranks are."""
    (tmp_path / "stacks").write_text("a file where the folder should be")
    rank(WAITING + "stuck_here()")
    (found,) = save_stacks(Kin(tag), tmp_path / "stacks")
    assert found.path is None
    assert found.frame is not None
    assert found.frame.startswith("stuck_here (")


def test_attempt_without_processes_has_no_stacks(tmp_path: Path, tag: str) -> None:
    """All gone already: an empty list, and a sentence that says so."""
    assert save_stacks(Kin(tag), tmp_path / "stacks") == []
    assert describe_stacks([]).startswith("no rank was found on host ")


# ---------------------------------------------------------------------- the sentence


def at(
    rank: int | None, frame: str | None, waits_in: str | None = None, *, is_rank: bool = True
) -> StackFile:
    process = ProcessSnapshot(
        pid=100 + (rank or 0),
        name="python",
        rank=rank,
        is_rank=is_rank,
        state="sleeping",
        cpu_s=1.0,
        waits_in=waits_in,
    )
    return StackFile(process, frame, None)


def test_odd_rank_out_comes_first() -> None:
    """Ranks at one place are one group; workers and the launcher are not spoken of."""
    same = "all_reduce (distributed_c10d.py:2810)"
    found = [at(0, same), at(1, "stuck_here (train.py:5)"), at(2, same), at(3, None, "do_exit")]
    found += [at(0, "loading (data.py:3)", is_rank=False), at(None, None, is_rank=False)]
    _, _, said = describe_stacks(found).partition(": ")
    assert said == (
        "rank 1 (pid 101) sleeping in stuck_here (train.py:5); rank 3 (pid 103) sleeping, in the kernel's"
        " do_exit; ranks 0, 2 sleeping in all_reduce (distributed_c10d.py:2810)"
    )


def test_many_ranks_at_many_places_are_cut() -> None:
    """A sentence stays one that can be read."""
    said = describe_stacks([at(rank, f"f{rank} (train.py:1)") for rank in range(64)])
    assert said.count("pid") == 8
    assert said.endswith("and 56 more")
