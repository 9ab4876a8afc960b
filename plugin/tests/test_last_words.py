"""What a failed job's own log says last."""

from __future__ import annotations

from pathlib import Path

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
