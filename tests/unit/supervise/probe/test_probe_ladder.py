"""Down the ladder: the first rung that works, and every fallback said."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from trainrelay.records import ProbeResult
from trainrelay.supervise.probe import probe_ladder
from trainrelay.trainers import RUNGS, Rung

LADDER = tuple(RUNGS[name] for name in ("nccl", "nccl-no-p2p", "gloo"))
WORKS: Mapping[str, object] = {"outcome": "works", "error": None, "gb_per_s": {25: 11.0, 256: 12.345}}


def climbed(errors: Mapping[str, str], rungs: tuple[Rung, ...] = LADDER) -> tuple[list[str], list[str]]:
    """The outcomes and what was said; rungs without an error work."""
    said: list[str] = []

    def probe_one(rung: Rung) -> ProbeResult:
        error = errors.get(rung.name)
        found = {"outcome": "fails", "error": error, "gb_per_s": {}} if error else WORKS
        return ProbeResult.model_validate(
            {"rung": rung.name, "seconds": 1.0, "log": f"{rung.name}.log", **found}
        )

    results = probe_ladder(rungs, probe_one, said.append)
    return [f"{result.rung} {result.outcome}" for result in results], said


def test_the_first_rung_that_works_is_the_last_one_probed() -> None:
    outcomes, said = climbed({})
    assert outcomes == ["nccl works"]
    assert said == ["nccl works here, all_reduce at 11 GB/s (25 MB), 12.3 GB/s (256 MB)"]


def test_a_fallback_is_said_with_its_reason_and_its_log() -> None:
    outcomes, said = climbed({"nccl": "no way", "nccl-no-p2p": "nor so"})
    assert outcomes == ["nccl fails", "nccl-no-p2p fails", "gloo works"]
    assert said == [
        "warning: nccl fails here: no way; trying nccl-no-p2p; log: nccl.log",
        "warning: nccl-no-p2p fails here: nor so; trying gloo; log: nccl-no-p2p.log",
        "warning: falls back to gloo: gloo works here, all_reduce at 11 GB/s (25 MB), 12.3 GB/s (256 MB)",
    ]


def test_a_ladder_of_which_nothing_works_says_so() -> None:
    outcomes, said = climbed({rung.name: "no" for rung in LADDER})
    assert outcomes == ["nccl fails", "nccl-no-p2p fails", "gloo fails"]
    assert said[-1] == "warning: gloo fails here: no; no other backend is left; log: gloo.log"


@pytest.mark.parametrize("start", [1, 2])
def test_the_way_down_may_begin_at_any_rung(start: int) -> None:
    assert climbed({}, LADDER[start:])[0] == [f"{LADDER[start].name} works"]
