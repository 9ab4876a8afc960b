"""The page of proof: what is drawn, and how its rows are gathered."""

from __future__ import annotations

import itertools
import random

from exact import run
from exact.ended import CASES, DEMO, End, Training, drawn


def test_each_case_is_drawn_before_one_is_drawn_again() -> None:
    names = [one.name for one in itertools.islice(drawn(random.Random(3)), 2 * len(CASES))]
    assert names[1::2] == [DEMO] * len(CASES)
    assert sorted(names[::2]) == sorted(CASES)


def a_training(place: str, step: int, *, name: str = DEMO, ends: int = 1, **fields: object) -> Training:
    more = {"continued": [f"step {step + 1}"] * ends, "rows": 21, **fields}
    return Training(name, [End(place, step, 0)] * ends, 3600.0, **more)  # type: ignore[arg-type]


def test_trainings_that_were_ended_once_in_the_same_way_share_a_row() -> None:
    """What differs has its own, and so has what was ended twice."""
    played = [
        a_training("stop", 7),
        a_training("sigterm", 5),
        a_training("stop", 3),
        a_training("stop", 4, different=["the log"]),
        a_training("stop", 6, ends=2),
        a_training("iteration", 2, name="2 ranks"),
        a_training("iteration", 2, name="2 ranks"),
    ]
    rows = [line for line in run._page(1, played).splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| `trainrelay train`, 2 trainings | every 3600 s, every 3600 s | `trainrelay stop` from step 3, 7 on"
        " | step 4, step 8 | 21 | equal |",
        "| `trainrelay train` | every 3600 s | SIGTERM of the supervisor from step 5 on | step 6 | 21"
        " | equal |",
        "| `trainrelay train` | every 3600 s | `trainrelay stop` from step 4 on | step 5 | 21 | **different:"
        " the log** |",
        "| `trainrelay train` | every 3600 s | `trainrelay stop` from step 6 on; `trainrelay stop` from step"
        " 6 on | step 7, step 7 | 21 | equal |",
        *["| 2 ranks | every 3600 s | SIGKILL of rank 0 from step 2 on | step 3 | 21 | equal |"] * 2,
    ]
