"""When the next job is submitted while a limit holds."""

from __future__ import annotations

from snakemake_executor_plugin_submitit.submitting import LimitPause


def test_the_pause_grows_while_a_limit_holds() -> None:
    """Twice as long each time, up to 5 min; from the start again once a job was accepted or has ended."""
    pause, now_s, pauses_s = LimitPause(), 0.0, []
    assert not pause.holds(now_s)
    for _ in range(9):
        pause.refused(now_s)
        began_s = now_s
        while pause.holds(now_s):
            now_s += 1
        pauses_s.append(now_s - began_s)
    assert pauses_s == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    pause.refused(now_s)
    pause.eased()
    assert not pause.holds(now_s)
    pause.refused(now_s)
    assert pause.holds(now_s + 4)
    assert not pause.holds(now_s + 5)
