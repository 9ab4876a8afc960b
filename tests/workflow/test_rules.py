"""What the rules hand to Snakemake: small declared outputs, and shell lines of their own stage."""

from __future__ import annotations

import re

import pytest

from support.project import Project

pytestmark = pytest.mark.xdist_group("trained")
STAGES = ("driving/stage1", "driving/stage2")
RECORDS = ("train.json", "checkpoint.json", "analysis.json", "analysis.md")
PAGES = {"runs/driving/report.html", "runs/index.html"}
DECLARED = {*(f"runs/{stage}/{name}" for stage in STAGES for name in RECORDS), *PAGES}


def test_declared_outputs_are_small_files_and_never_a_trainings_memory(fresh: Project) -> None:
    """Snakemake deletes the declared outputs of a failed job, so checkpoints must not be among them."""
    table = [line.split("\t") for line in fresh.succeed("--summary").splitlines() if line.startswith("runs/")]
    assert {row[0] for row in table} == DECLARED


def test_all_asks_for_every_declared_file(fresh: Project) -> None:
    """Else one that was removed would be nothing to be done."""
    asked = re.search(r"^rule all:\n    input: (.*)$", fresh.succeed("-n"), re.MULTILINE)
    assert asked
    assert set(asked[1].split(", ")) == DECLARED


def test_each_shell_line_names_its_own_stage(fresh: Project) -> None:
    """A shell line is formatted long after the loop over the stages has ended."""
    printed = fresh.succeed("-n", "-p")
    for verb in ("train", "promote"):
        assert re.findall(rf"-m trainrelay {verb} (\S+)", printed) == list(STAGES)
