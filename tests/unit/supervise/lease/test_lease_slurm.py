"""What Slurm says of a job, through commands that refuse what they do not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.supervise.lease import acquisition
from trainrelay.supervise.lease.acquisition import BEAT_S, slurm_answer
from trainrelay.supervise.lease.rules import GAP_BEATS

pytestmark = pytest.mark.process

COLUMNS = (
    "JobID",
    "State",
    "Reason",
    "NodeList",
    "Comment",
    "StdOut",
    "Command",
    "ArrayJobID",
    "WorkDir",
    "Name",
    "RestartCnt",
    "PreemptTime",
)
SQUEUE = "--jobs=42 --noheader --states=all --Format=" + ",".join(f"{column}:\x1f" for column in COLUMNS)
SACCT = "-X --noheader --parsable2 --format=JobID,State --jobs 42"


def fake(folder: Path, name: str, expected: str, does: str) -> None:
    """A command that ends with 64 unless its arguments are the expected ones."""
    folder.mkdir(exist_ok=True)
    script = f'#!/bin/sh\n[ "$*" = "{expected}" ] || exit 64\n{does}\n'
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


def parts(*states: str) -> str:
    """What squeue prints of the parts of a job."""
    rows = (
        f"{job}|{state}|None|n||||{job}|||||".replace("|", "\x1f") for job, state in enumerate(states, 42)
    )
    return "; ".join(f"echo '{row}'" for row in rows)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "bin"


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        ("RUNNING", "running"),
        ("SUSPENDED", "running"),
        ("COMPLETED", "gone"),
        ("TIMEOUT", "gone"),
        ("COMPLETING", "unknown"),
        ("PENDING", "unknown"),
        ("NODE_FAIL", "lost"),
        ("A STATE OF TOMORROW", "unknown"),
    ],
)
def test_squeue_is_asked_first(commands: Path, state: str, answer: str) -> None:
    """A requeued job proves nothing about the processes, and with a lost node they may live."""
    fake(commands, "squeue", SQUEUE, parts(state))
    fake(commands, "sacct", SACCT, "echo '42|COMPLETED'")
    assert slurm_answer("42") == answer


def test_job_that_squeue_has_forgotten_is_asked_of_sacct(commands: Path) -> None:
    """squeue knows a job for some minutes after its end only."""
    fake(commands, "squeue", SQUEUE, "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1")
    fake(commands, "sacct", SACCT, "echo '42|CANCELLED by 0'")
    assert slurm_answer("42") == "gone"


@pytest.mark.parametrize("does", ["exit 0", parts("RUNNING") + "; exit 1", "printf '\\377\\n'"])
def test_no_answer_is_unknown(commands: Path, does: str) -> None:
    """An empty, failed or unreadable answer says nothing."""
    fake(commands, "squeue", SQUEUE, does)
    fake(commands, "sacct", SACCT, does)
    assert slurm_answer("42") == "unknown"


def test_no_slurm_is_unknown(commands: Path) -> None:
    """A machine without Slurm's commands."""
    commands.mkdir()
    assert slurm_answer("42") == "unknown"


def test_slurm_that_does_not_answer_is_not_waited_for(
    commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller that hangs is unknown."""
    monkeypatch.setattr(acquisition, "_TIMEOUT_S", 0.05)
    for name, expected in {"squeue": SQUEUE, "sacct": SACCT}.items():
        fake(commands, name, expected, "exec sleep 600")
    assert slurm_answer("42") == "unknown"


def test_silence_is_observed_on_while_slurm_does_not_answer() -> None:
    """Else a controller that hangs would keep a dead owner's lease alive for good."""
    assert 2 * acquisition._TIMEOUT_S < GAP_BEATS * BEAT_S


def test_any_part_of_a_job_that_runs_counts(commands: Path) -> None:
    """A job of several parts lives until the last one has ended."""
    fake(commands, "squeue", SQUEUE, parts("COMPLETED", "RUNNING"))
    assert slurm_answer("42") == "running"
    fake(commands, "squeue", SQUEUE, parts("COMPLETED", "NODE_FAIL"))
    assert slurm_answer("42") == "lost"
    fake(commands, "squeue", SQUEUE, parts("PENDING", "NODE_FAIL"))
    assert slurm_answer("42") == "unknown"
