"""The lines that can tell why a training ended."""

from __future__ import annotations

from trainrelay.supervise.monitor import MAX_LINES, RecentLines


def test_what_was_survived_is_forgotten() -> None:
    """Of the past, only what follows the last progress line but one is kept."""
    recent = RecentLines()
    for line in ("old error", "step 1", "late error", "step 2", "end"):
        recent.add(line)
        if line.startswith("step"):
            recent.progressed()
    assert recent.lines() == ["late error", "step 2", "end"]


def test_first_and_last_lines_of_a_flood_are_kept() -> None:
    """The first failure and the launcher's summary outlast any amount of noise between them."""
    recent = RecentLines()
    for number in range(10 * MAX_LINES):
        recent.add(f"line {number}" + "x" * 10_000)
    lines = recent.lines()
    assert len(lines) == 2 * MAX_LINES
    assert lines[0].startswith("line 0x")
    assert lines[-1].startswith(f"line {10 * MAX_LINES - 1}x")
    assert max(map(len, lines)) <= 4000
