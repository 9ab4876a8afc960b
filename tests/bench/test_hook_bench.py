"""What `make bench-hook` writes, and what it does not let pass."""

from __future__ import annotations

import pytest

from bench.hook import Save, Steps, holds, section

STEP = Steps(iteration_s=0.010, callbacks_s=0.0005)


def saves(*stalls_s: float, cpu_s: float = 2.0) -> list[Save]:
    return [Save(1_500_000_000, stall_s, 3.0, cpu_s) for stall_s in stalls_s]


def test_the_longest_stall_is_beside_the_median() -> None:
    text = section([STEP], [STEP], saves(0.1, 0.12, 0.35))
    assert "Medians: 0.120 s stall (the benchmark fails above 0.2 s; the most is 0.350 s), and 2.12 s" in text
    assert "| 3 | 1.50 | 0.350 | 3.0 | 2.00 |" in text
    assert "Median of the callbacks: 0.500 ms (the benchmark fails above 1 ms)." in text


@pytest.mark.parametrize(
    ("step", "saved", "held"),
    [
        (STEP, saves(0.1, 0.2, 0.9), True),
        (STEP, saves(0.1, 0.21, 0.3), False),
        (STEP, saves(0.1, cpu_s=5.95), False),
        (Steps(iteration_s=0.010, callbacks_s=0.0011), saves(0.1), False),
    ],
)
def test_it_fails_above_what_is_allowed(step: Steps, saved: list[Save], held: bool) -> None:
    assert holds([step], saved) is held
