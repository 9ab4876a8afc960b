"""Whether a partition has what a stage asks for, from what Slurm tells of partitions and nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snakemake_executor_plugin_submitit.resources import Gpus
from trainrelay.config import Resources, Site
from trainrelay.preflight.cluster import chain_limit, conf_kept_back, partition_checks
from trainrelay.slurm import Request
from trainrelay.slurm.cluster import JobLimits, Node, Partition
from trainrelay.slurm.flags import request_of

NONE = JobLimits()
ASKED = Request(Gpus(8, "a40"), 40, mem_mb=240_000, runtime_min=10080, partition="gpu")
GPU = Partition("gpu", True, True, None)
SHORT = Partition("short", False, True, 60)
A40 = Node("n1", frozenset({"gpu", "short"}), {"a40": 8}, frozenset({"a40"}), 64, 256_000, True)
H100 = replace(A40, name="n2", gpus={"h100": 4})


def lines(asked: Request, *nodes: Node, partitions: tuple[Partition, ...] = (GPU, SHORT)) -> list[str]:
    return [found.line() for found in partition_checks(asked, partitions, nodes, NONE)]


def test_a_partition_that_has_it_is_ok() -> None:
    assert lines(ASKED, A40, H100) == ["ok    partition gpu: 1 node with 8 x a40 and at least 40 cores"]


def test_another_type_or_number_of_gpus_is_told_with_what_there_is() -> None:
    (line,) = lines(replace(ASKED, gpus=Gpus(9, "a40")), A40, A40, H100)
    assert line == (
        "fix   partition gpu has no nodes with 9 x a40, 1 node asked for; it has 8 x a40 on 2 nodes, 4 x h100"
        " on 1 node; set resources.gpu, gpu_model or partition"
    )
    assert lines(replace(ASKED, gpus=Gpus(8, "A40")), A40)[0].startswith("fix   partition gpu has no nodes")
    assert lines(replace(ASKED, nodes=2), A40)[0].startswith("fix   partition gpu has 1 node with 8 x a40, 2")


def test_a_type_that_a_site_calls_a_feature_is_looked_for_there() -> None:
    untyped = replace(A40, gpus={"": 8})
    assert lines(replace(ASKED, gpu_dialect="gres-constraint"), untyped)[0].startswith("ok")
    assert lines(ASKED, untyped)[0].startswith("fix")
    assert (
        lines(replace(ASKED, gpu_dialect="gres-constraint"), replace(untyped, features=frozenset()))[0][:4]
        == "fix "
    )


def test_a_node_that_is_too_small_is_told_with_its_size() -> None:
    assert lines(replace(ASKED, cpus_per_task=65), A40) == [
        "fix   65 cores and 240000 MB are asked for, the nodes of partition gpu have 64 cores and 256000"
        " MB at most; lower cpus_per_gpu or mem_gb"
    ]
    assert lines(replace(ASKED, mem_mb=256_001), A40)[0].startswith("fix")
    assert lines(replace(ASKED, mem_mb=None), A40)[0].startswith("ok")


def test_a_limit_that_is_too_short_is_told_with_what_to_set() -> None:
    first, second = lines(replace(ASKED, partition="short"), A40)
    assert first.startswith(
        "fix   partition short allows 60 min, runtime_min asks for 10080; set runtime_min: 60"
    )
    assert second.startswith("ok")
    assert len(lines(replace(ASKED, partition="short", runtime_min=60), A40)) == 1


def test_of_several_partitions_the_best_counts() -> None:
    assert [line[:4] for line in lines(replace(ASKED, partition="short,gpu"), A40)] == ["ok  "]


def test_a_partition_that_is_not_there_is_told_with_those_that_are() -> None:
    assert lines(replace(ASKED, partition="gpuu"), A40) == [
        "fix   there is no partition gpuu; set it (resources.partition, site.yaml) to one of: gpu, short"
    ]


@pytest.mark.parametrize("partitions", [(), (SHORT,)])
def test_without_a_partition_and_a_default_slurm_chooses(partitions: tuple[Partition, ...]) -> None:
    (line,) = lines(replace(ASKED, partition=""), A40, partitions=partitions)
    assert line.startswith("note")


def test_without_a_partition_the_default_one_is_looked_at() -> None:
    assert lines(replace(ASKED, partition=""), A40)[0].startswith("ok    partition gpu")


def test_nodes_that_are_hidden_or_down_are_no_mistake() -> None:
    assert lines(ASKED)[0].startswith("note  the nodes of partition gpu cannot be seen")
    (down,) = lines(ASKED, replace(A40, usable=False))
    assert down.startswith("note  partition gpu: 1 node with 8 x a40")
    assert "but only 0 of them can be used now" in down
    closed = replace(GPU, up=False)
    assert lines(ASKED, A40, partitions=(closed,))[0].startswith("fix   partition gpu is not up")


def test_a_name_with_escapes_reaches_no_terminal() -> None:
    (line,) = lines(replace(ASKED, partition="\x1b[2J\nok"), A40)
    assert "\x1b" not in line
    assert "\n" not in line


def test_the_site_fills_what_a_stage_leaves_open() -> None:
    site = Site(partition="all", gpu_dialect="gres-constraint")
    asked = request_of(Resources(gpu=8, gpu_model="a40", mem_gb=240.0), site, 40)
    assert (asked.partition, asked.gpus, asked.cpus_per_task) == ("all", Gpus(8, "a40"), 40)
    assert (asked.mem_mb, asked.gpu_dialect) == (240_000, "gres-constraint")
    assert request_of(Resources(partition="mine"), site, 1).partition == "mine"


def test_more_nodes_than_a_job_may_have_are_told() -> None:
    few = replace(GPU, max_nodes=1)
    assert lines(replace(ASKED, nodes=2), A40, A40, partitions=(few,))[0] == (
        "fix   partition gpu gives a job 1 node at most, 2 asked for; set resources.nodes or partition"
    )
    assert lines(ASKED, A40, partitions=(few,))[0].startswith("ok")


@pytest.mark.parametrize(
    ("runtimes_min", "partition", "said"),
    [
        (
            (40, 30),
            "short",
            "as one job they would ask for 70 min, partition short allows 60 min, so it would never start",
        ),
        ((30, 30), "short", ""),
        ((40, 30), "short,gpu", ""),
        ((40, 30), "", ""),
        ((70,), "short", ""),
        ((None, 70), "short", "as one job they would ask for 70 min"),
        ((), "short", ""),
    ],
)
def test_the_time_of_a_chain_is_the_sum_of_its_trainings(
    runtimes_min: tuple[int | None, ...], partition: str, said: str
) -> None:
    asked = [replace(ASKED, partition=partition, runtime_min=one) for one in runtimes_min]
    found = chain_limit(asked, (GPU, SHORT), NONE)
    assert found.startswith(said) if said else found == ""


def test_a_configuration_that_the_official_executor_does_not_pass_on_is_told() -> None:
    (found,) = conf_kept_back({"SLURM_CONF": "/opt/slurm.conf"})
    assert found.startswith("SLURM_CONF is /opt/slurm.conf, which --profile slurm-native keeps from")
    assert not [*conf_kept_back({}), *conf_kept_back({"SLURM_CONF": "/etc/slurm/slurm.conf"})]


def test_more_gpus_than_a_qos_gives_are_told_over_all_nodes() -> None:
    limits = JobLimits(qos={"few": {"gpus": 8}})
    asked = replace(ASKED, qos="few")
    assert all(one.kind == "ok" for one in partition_checks(asked, (GPU,), (A40,), limits))
    two = partition_checks(replace(asked, nodes=2), (GPU,), (A40, replace(A40, name="n2")), limits)
    said = "fix   QOS few allows 8 GPUs, 16 asked for; set resources.gpu, nodes or qos"
    assert [one.line() for one in two if one.kind == "fix"] == [said]


def test_the_limit_of_an_account_or_qos_is_told_as_that_of_a_partition() -> None:
    """Slurm would let the job wait for good; of two limits the lower one counts."""
    limits = JobLimits(
        "a", {("a", ""): ("", {"min": 60}), ("b", ""): ("", {"min": 30})}, {"long": {"min": 20_000}}
    )
    asked = replace(ASKED, runtime_min=45)
    for account, qos, allows in (("", "", 60), ("b", "", 30), ("c", "", 45), ("b", "long", 20_000)):
        request = replace(asked, account=account, qos=qos)
        found = [one.line() for one in partition_checks(request, (GPU,), (A40,), limits)]
        said = f"fix   account {account} allows {allows} min, runtime_min asks for 45; set runtime_min: "
        assert found[0].startswith(said if allows < 45 else "ok "), found
    short = [one.line() for one in partition_checks(replace(asked, partition="short"), (SHORT,), (), limits)]
    assert not any(line.startswith("fix") for line in short)
    assert "account b allows 30 min" in chain_limit([replace(asked, account="b")] * 2, (GPU,), limits)
