"""Each benchmark writes its own section of docs/BENCHMARKS.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import planning
from bench.section import replaced
from bench.slurm_gap import OFFICIAL, OURS, SBATCH, STAGES, Measured, Way, gaps_s, holds, section

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
    stamps = tmp_path / "stamps"
    lines = [
        f"{number} begin {10 * number}\n{number} end {10 * number + number}"
        for number in range(1, STAGES + 1)
    ]
    stamps.write_text("\n".join(lines))
    assert list(gaps_s(stamps)) == [9.0, 8.0, 7.0]


def validation_scores(ours_s: float, official_s: float) -> dict[Way, list[Measured]]:
    gaps = {OURS: ours_s, SBATCH: 1.0, **{way: official_s + index for index, way in enumerate(OFFICIAL)}}
    return {way: [Measured((gap_s,), 30.0, {"squeue": 2, "sacct": 1})] for way, gap_s in gaps.items()}


def test_a_gap_of_more_than_a_third_of_the_best_official_one_does_not_hold() -> None:
    assert holds(validation_scores(4.0, 12.0))
    assert not holds(validation_scores(4.1, 12.0))


def test_the_section_has_a_row_per_way_with_its_calls_a_minute() -> None:
    text = section(validation_scores(4.0, 12.0))
    assert "| `--profile slurm` | 4.0 | 4.0 | 4.0 | 4.0 | 2.0 |" in text
    assert "| `sbatch --dependency=afterok` | 1.0 | 1.0 | 1.0 |  |  |" in text
    assert "Ours is 0.33 of the official executor's" in text


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
