"""What tells a job with other params from one with the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.command import Command
from snakemake_executor_plugin_submitit.identity import digest_of_params
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.submission import Submission

Rules = list[tuple[str, list[object]]]
MINE = digest_of_params([("train", ["lr = 0.1", 3]), ("promote", [])])


@pytest.mark.parametrize("values", [[3, "lr = 0.1"], ["lr = 0.1", 3, 3]])
def test_order_and_repetition_are_no_difference(values: list[object]) -> None:
    """Snakemake compares the sets of values; the jobs of a group have no order."""
    assert digest_of_params([("promote", []), ("train", values)]) == MINE


@pytest.mark.parametrize(
    "other",
    [
        [],
        [("train", ["lr = 0.1", 3])],
        [("train", ["lr = 0.5", 3]), ("promote", [])],
        [("train", ["lr = 0.1", "3"]), ("promote", [])],
        [("train", []), ("promote", ["lr = 0.1", 3])],
        [("train", ["lr = 0.1", 3, {(1, 2): 3}]), ("promote", [])],
    ],
)
def test_another_value_or_rule_is_a_difference(other: Rules) -> None:
    assert digest_of_params(other) != MINE


def test_the_digest_is_the_same_in_every_process() -> None:
    """Sets of text have another order in each, and objects have other addresses."""
    code = (
        "from snakemake_executor_plugin_submitit.identity import digest_of_params\n"
        "values = [set('abcdef'), {(1, 2): frozenset('uvw')}, [object()], b'1', '\\udc80', float('nan')]\n"
        "print(digest_of_params([('a', values)]))"
    )
    said = {
        subprocess.check_output([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in "123"
    }
    assert len(said) == 1


def test_a_submission_knows_its_params(tmp_path: Path) -> None:
    """One of an older version, without a note, counts as the same."""

    def since(params: str) -> str:
        return submission(params).other_params_since()

    def submission(params: str) -> Submission:
        command = Command("true", "/", str(tmp_path / "token"), "slurm")
        return Submission("train", "0" * 32, params, command, request_of({}, 1))

    assert since(MINE) == ""
    submission(MINE).note_params()
    assert since(MINE) == ""
    assert since("0" * 64)
    (tmp_path / "token/params").write_bytes(b"\xff")
    assert since(MINE)
