"""Partitions and nodes, from the lines of `scontrol show --oneliner`."""

from __future__ import annotations

import pytest

from trainrelay.slurm.ask import seconds
from trainrelay.slurm.cluster import gpus_of, read_nodes, read_partitions

# As Slurm 22.05 prints them, shortened.
PARTITIONS = (
    "PartitionName=gpu AllowGroups=ALL Default=YES QoS=part MaxNodes=UNLIMITED MaxTime=UNLIMITED State=UP "
    "TRES=cpu=64,mem=250G,gres/gpu=8\n"
    "PartitionName=short Default=NO MaxTime=1-12:30:00 State=DOWN TotalCPUs=64\n"
)
NODES = (
    "NodeName=n1 Arch=x86_64 CPUAlloc=0 CPUEfctv=62 CPUTot=64 AvailableFeatures=a40,ib ActiveFeatures=a40,ib "
    "Gres=gpu:a40:8(S:0-1),mps:100 NodeAddr=10.0.0.1 OS=Linux 6.1 #1 SMP RealMemory=256000 MemSpecLimit=1000 "
    "State=IDLE+CLOUD+POWERED_DOWN Partitions=gpu,short CfgTRES=cpu=64,gres/gpu=8 "
    "Reason=said Gres=gpu:h100:99 State=DOWN [root@2026-01-01T00:00:00]\n"
    "NodeName=n2 CPUTot=8 AvailableFeatures=(null) Gres=(null) RealMemory=x State=DOWN*+DRAIN "
    "Partitions=gpu\n"
)


def test_partitions_are_read_with_their_limit_and_state() -> None:
    gpu, short = read_partitions(PARTITIONS)
    assert (gpu.name, gpu.default, gpu.up, gpu.max_time_min) == ("gpu", True, True, None)
    assert (gpu.qos, short.qos) == ("part", "")
    assert (short.name, short.default, short.up, short.max_time_min) == ("short", False, False, 2190)


def test_what_a_person_wrote_about_a_node_changes_none_of_its_figures() -> None:
    node = read_nodes(NODES)[0]
    assert node.gpus == {"a40": 8}
    assert (node.cpus, node.mem_mb) == (62, 255000)
    assert node.features == {"a40", "ib"}
    assert node.partitions == {"gpu", "short"}


def test_a_node_that_sleeps_is_usable_and_one_that_is_drained_is_not() -> None:
    assert [node.usable for node in read_nodes(NODES)] == [True, False]


def test_a_node_of_which_little_is_told_has_nothing() -> None:
    node = read_nodes(NODES)[1]
    assert (node.gpus, node.features, node.cpus, node.mem_mb) == ({}, frozenset(), 8, 0)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "No nodes in the system\n", "\x1b[2J=\n", "=====\n", "a=b c=d\n"]
)
def test_lines_that_are_no_records_are_left_out(text: str) -> None:
    assert read_nodes(text) == []
    assert read_partitions(text) == []


@pytest.mark.parametrize(
    ("gres", "found"),
    [
        ("gpu:8", {"": 8}),
        ("gpu:a40:4,gpu:a40:4", {"a40": 8}),
        ("gpu:tesla:2(S:0,1),gpu:k80:1(IDX:2)", {"tesla": 2, "k80": 1}),
        ("gpu:a100:no_consume:4", {"a100": 4}),
        ("gpu:a40:eight,gpu,gpu:,craynetwork:4,gpu:a40:99999999999999999999", {}),
        ("(null)", {}),
    ],
)
def test_gpus_are_counted_by_type(gres: str, found: dict[str, int]) -> None:
    assert gpus_of(gres) == found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("7-00:00:00", 7 * 86400),
        ("1-06", 30 * 3600),
        ("1-00:00:03", 86403),
        ("02:30:00", 9000),
        ("30:00", 1800),
        ("00:07", 7),
        ("45", 2700),
        ("UNLIMITED", None),
        ("NONE", None),
        ("", None),
        ("-5", None),
        ("1:2:3:4", None),
    ],
)
def test_a_time_is_read_in_seconds(text: str, wanted: int | None) -> None:
    assert seconds(text) == wanted
