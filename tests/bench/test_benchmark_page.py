"""Each benchmark writes its own section of docs/BENCHMARKS.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import planning, slurm_legs
from bench.gap_chains import gaps_s
from bench.section import replaced
from bench.slurm_gap import (
    LEAST_STAGE_S,
    MOST_STAGE_S,
    OFFICIAL,
    OURS,
    SBATCH,
    TRAINER,
    Law,
    Measured,
    Way,
    drawn_s,
    law_of,
    missed,
    section,
)

PAGE = "# Benchmarks\n\n## One\n\nold\n\n### Part\n\n## Two\n\nstays\n"


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("One", "# Benchmarks\n\n## One\n\nnew\n\n## Two\n\nstays\n"),
        ("Two", "# Benchmarks\n\n## One\n\nold\n\n### Part\n\n## Two\n\nnew\n"),
        ("Three", PAGE + "\n## Three\n\nnew\n"),
    ],
)
def test_a_section_takes_its_place_and_the_others_stay(title: str, expected: str) -> None:
    assert replaced(PAGE, title, f"## {title}\n\nnew\n") == expected


def test_a_gap_is_from_the_end_of_a_stage_to_the_begin_of_the_next(tmp_path: Path) -> None:
    lines = [f"{number} begin {10 * number}\n{number} end {10 * number + number}" for number in range(1, 5)]
    (tmp_path / "stamps").write_text("\n".join(lines))
    assert gaps_s(tmp_path, 4) == [9.0, 8.0, 7.0]


def test_the_lengths_of_stages_follow_from_the_seed_and_stay_in_their_bounds() -> None:
    drawn = [length_s for seed in range(50) for length_s in drawn_s(seed, 0)]
    assert drawn_s(1, 0) == drawn_s(1, 0) != drawn_s(1, 1)
    assert LEAST_STAGE_S <= min(drawn) < 6 < 40 < max(drawn) <= MOST_STAGE_S


def test_the_official_executors_pause_grows_by_its_source() -> None:
    law = law_of("max_sleep_time = 180\n  self.next_seconds_between_status_checks + 10,")
    assert law == Law(10.0, 180.0)
    assert [law.pause_s(40.0, after_s) for after_s in (1, 40, 41, 36000)] == [40.0, 40.0, 50.0, 180.0]


def measured(ours_s: tuple[float, ...], trainer_s: tuple[float, ...]) -> dict[Way, list[Measured]]:
    gaps = {OURS: ours_s, TRAINER: trainer_s, SBATCH: (1.0,), OFFICIAL: (12.0, 13.0)}
    calls = {"squeue": 2, "sacct": 1}
    return {way: [Measured(gaps[way], ({"a part": 0.5},), 30.0, calls)] for way in gaps}


@pytest.mark.parametrize(
    ("ours_s", "trainer_s", "torch_s", "problems"),
    [
        ((1.7, 1.8, 5.0), (3.5, 3.4, 3.6), 0.5, []),
        ((1.9, 1.9), (3.0, 3.0), 2.0, ["the median is 1.90 s, above 1.8 s"]),
        ((1.0, 1.0), (3.6, 3.6), 1.0, ["the median is 3.60 s, above 3.5 s"]),
        ((1.0, 1.0), (7.0, 7.0, 10.0), 2.0, []),
        (
            (1.0, 1.0),
            (7.1, 7.1, 10.1),
            2.0,
            ["the median is 7.10 s, above 7.0 s", "one gap is 10.10 s, above 10.0 s"],
        ),
        ((1.0, 1.0, 5.1), (3.0, 3.0), 2.0, ["one gap is 5.10 s, above 5.0 s"]),
    ],
)
def test_a_target_that_is_missed_is_named(
    ours_s: tuple[float, ...], trainer_s: tuple[float, ...], torch_s: float, problems: list[str]
) -> None:
    assert [line.partition(": ")[2] for line in missed(measured(ours_s, trainer_s), torch_s)] == problems


def test_the_section_has_a_row_per_way_and_seed_with_its_calls_a_minute_and_where_the_seconds_go() -> None:
    by_seed = {4: measured((1.0, 1.0, 2.0), (3.0, 3.0)), 7: measured((2.0, 2.0), (3.0, 3.0))}
    text = section(by_seed, Law(10.0, 180.0), load=(0.1, 0.2), torch_s={4: 0.9, 7: 1.9})
    assert "(before each chain of its seed: 0.9 s and 1.9 s)" in text
    assert "| `--profile slurm` | 4 | 1.0 | 1.8 | 1.0 | 2.0 | 4.0 | 2.0 |" in text
    assert "| `--profile slurm` | 7 | 2.0 | 2.0 | 2.0 | 2.0 | 4.0 | 2.0 |" in text
    assert "| `sbatch --dependency=afterok` | 4 | 1.0 | 1.0 | 1.0 | 1.0 |  |  |" in text
    assert "1 times in turns per seed" in text
    assert "from the seed 4 and 7," in text
    assert text.count("| a part | 0.50 | 0.50 |") == 2
    assert "expected to be noticed 90 s after its end" in text


def planned(few_s: float, many_s: float, bare_s: float) -> dict[int, planning.Measured]:
    few = planning.Measured(planning.FEW, [(few_s, 1.0)])
    many = [(many_s, bare_s), (many_s, bare_s), (99.0, 1.0)]
    return {planning.FEW: few, planning.MANY: planning.Measured(planning.MANY, many)}


def test_a_plan_holds_within_half_more_than_bare_and_in_proportion() -> None:
    assert planning.holds(planned(2.0, 15.0, 10.0))
    assert not planning.holds(planned(2.0, 15.1, 10.0))
    assert not planning.holds(planned(1.4, 15.0, 10.0))


def test_the_section_of_plans_has_the_medians_and_their_ratio() -> None:
    assert "| 1,000 | 15.00 | 10.00 | 1.50 |" in planning.section(planned(2.0, 15.0, 10.0))


@pytest.mark.parametrize(
    ("requeued_s", "array_s", "empty_s", "holds"),
    [(100.0, 1.0, 2.0, True), (100.0, 60.0, 2.0, False), (100.0, 1.0, 5.0, False)],
)
def test_the_legs_of_an_array_are_to_pay_on_a_busy_cluster_and_cost_nothing_on_an_empty_one(
    requeued_s: float, array_s: float, empty_s: float, holds: bool
) -> None:
    busy = slurm_legs.COMPETITORS
    waits = {("requeued", 0): [2.0], ("requeued", busy): [requeued_s]}
    waits |= {("array", 0): [empty_s], ("array", busy): [array_s]}
    assert slurm_legs.holds(waits) is holds
    assert f"| array | {empty_s:.1f} | {array_s:.1f} |" in slurm_legs.section(waits)
