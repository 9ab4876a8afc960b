"""What a failed job's own log says last."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from snakemake_executor_plugin_submitit.executor import Executor, PlainLogger
from snakemake_executor_plugin_submitit.tracked import last_lines


def test_the_last_line_of_each_log_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("first\nthe reason\n\n")
    (tmp_path / "empty.log").touch()
    logs = [tmp_path / "a.log", tmp_path / "empty.log", tmp_path / "missing.log", tmp_path]
    assert list(last_lines(logs)) == [f"{tmp_path / 'a.log'} ends: the reason"]


def test_what_submitit_notes_at_the_end_is_no_reason(tmp_path: Path) -> None:
    path = tmp_path / "1_0_log.out"
    path.write_text("the reason\nsubmitit INFO (2026-01-01 00:00:00,000) - Job completed successfully\n")
    assert list(last_lines([path])) == [f"{path} ends: the reason"]


def test_an_endless_or_hostile_line_is_cut_and_made_printable(tmp_path: Path) -> None:
    """A log holds whatever a trainer prints, also bytes that clear a terminal."""
    path = tmp_path / "a.log"
    path.write_bytes(b"\x1b[2J\xff" + b"x" * 100_000)
    (said,) = last_lines([path])
    assert said.isprintable()
    assert len(said) < 700 + len(str(path))


def test_what_the_executor_logs_and_reports_is_printable(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Names of files and wildcards, and what Slurm says, may hold anything."""
    logger = PlainLogger(logging.getLogger("snakemake.test"))
    logger.warning("job[\x1b[2J\u202e\u3000日本] waits\nlog: a")
    reported: list[Any] = []
    monkeypatch.setattr(RemoteExecutor, "report_job_error", lambda *_, **said: reported.append(said))
    Executor.report_job_error(Executor.__new__(Executor), None, msg="\x9b31m failed. ", aux_logs=["b"])
    assert caplog.messages == ["job[ [2J \u3000日本] waits\nlog: a"]
    assert reported == [{"msg": " 31m failed. ", "aux_logs": ["b"]}]


def test_the_executor_logs_through_what_makes_it_printable() -> None:
    source = Path(__file__).parents[1] / "src/snakemake_executor_plugin_submitit"
    texts = {path.name: path.read_text() for path in source.glob("*.py")}
    assert "self.logger: Any = PlainLogger(self.logger)" in texts["executor.py"]
    raised = [
        line.strip()
        for text in texts.values()
        for line in text.splitlines()
        if "raise WorkflowError(" in line
    ]
    assert raised
    assert all(line.startswith("raise WorkflowError(printable(") for line in raised)
