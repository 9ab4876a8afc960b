"""Where a training over several nodes may be started."""

from __future__ import annotations

import pytest

from trainrelay.supervise import nodes_missing

FIRST = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "a", "SLURM_JOB_NUM_NODES": "2", "SLURM_NODEID": "0"}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (
            dict.fromkeys(FIRST),
            "is 2, and this is not a node of a Slurm job; run: snakemake --profile slurm",
        ),
        ({"SLURMD_NODENAME": None}, "is 2, and this is not a node of a Slurm job;"),  # salloc on a login node
        ({"SLURM_JOB_NUM_NODES": "1"}, "this Slurm job holds 1; end it and run: snakemake --profile slurm"),
        ({"SLURM_JOB_NUM_NODES": "²"}, "this Slurm job holds ²;"),
        ({"SLURM_NODEID": "1"}, "this is not the first node of its Slurm job;"),
    ],
)
def test_outside_of_so_many_nodes_one_sentence_says_what_to_type(
    changes: dict[str, str | None], wanted: str
) -> None:
    environment = {name: value for name, value in {**FIRST, **changes}.items() if value is not None}
    assert wanted in (nodes_missing(2, environment) or "")


def test_on_the_first_node_of_at_least_so_many_nothing_is_missing() -> None:
    assert nodes_missing(2, FIRST) is None
    assert nodes_missing(2, {**FIRST, "SLURM_JOB_NUM_NODES": "4"}) is None


def test_one_node_needs_no_slurm() -> None:
    assert nodes_missing(1, {}) is None
