"""`trainrelay check` and `trainrelay plan --when` on a real Slurm; nothing is submitted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from slurm.rig import Rig
from slurm.rig.conf import ACCOUNT
from support.project import Project
from trainrelay.config import Resources, Site
from trainrelay.preflight.cluster import partition_checks, request_check
from trainrelay.slurm import sbatch_flags
from trainrelay.slurm.cluster import job_limits, nodes, partitions
from trainrelay.slurm.flags import request_of


def asks(project: Project, **resources: Any) -> None:
    """What both stages of the demo ask for."""

    def change(data: dict[str, Any]) -> None:
        for stage in data["runs"]["driving"]["stages"].values():
            stage["resources"] = {"gpu": 8, "gpu_model": "a40", "runtime_min": 15, **resources}

    project.configure(change)


def lines(project: Project, status: int) -> list[str]:
    """What is said of stage 1 and of Slurm as a whole."""
    done = project.trainrelay("check", "driving/stage1")
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_what_the_cluster_has_is_ok_line_by_line(clean_rig: Rig, project: Project) -> None:
    asks(project)
    said = lines(project, 0)
    assert any(line.startswith("ok    driving: ") and "torch 2" in line and "mmcv 1" in line for line in said)
    assert any(line.startswith("ok    Slurm answers: Slurmctld(primary)") for line in said)
    assert "ok    Slurm's accounting answers (sacct)" in said
    assert "ok    driving/stage1: partition gpu: 1 node with 8 x a40 and at least 2 cores" in said
    node = clean_rig.booted().nodes[0]
    accepted = f"Slurm accepts the request; it could start now, on {node} (partition gpu)"
    assert f"ok    driving/stage1: {accepted}" in said
    assert not clean_rig.live()


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (
            {"gpu": 9},
            "partition gpu has no nodes with 9 x a40, 1 node asked for; it has 8 x a40 on 1 node",
        ),
        ({"gpu_model": "h100"}, "partition gpu has no nodes with 8 x h100"),
        (
            {"partition": "gpuu"},
            "there is no partition gpuu; set it (resources.partition, site.yaml) to one of:",
        ),
        ({"account": "nobody"}, "Slurm refuses the request (Invalid account or account/partition"),
        ({"qos": "none"}, "Slurm refuses the request (Invalid qos specification)"),
        ({"constraint": "x"}, "Slurm refuses the request (Invalid feature specification)"),
        ({"mem_gb": 257.0}, "the nodes of partition gpu have 64 cores and 256000 MB at most"),
        (
            {"nodes": 3, "partition": "both"},
            "partition both has 2 nodes with 8 x a40, 3 nodes asked for",
        ),
    ],
)
def test_what_it_has_not_is_to_be_problems(
    clean_rig: Rig, monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any], said: str
) -> None:
    for name, value in clean_rig.environment().items():
        monkeypatch.setenv(name, value)
    asked = Resources(**{"gpu": 8, "gpu_model": "a40", "runtime_min": 15, **resources})
    found = [
        *partition_checks(request_of(asked, Site(), 2), partitions(), nodes(), job_limits()),
        request_check(sbatch_flags(request_of(asked, Site(), 2)), datetime.now()),
    ]
    problems = [one.line() for one in found if one.kind == "fix"]
    assert any(said in line for line in problems), found
    # Whatever the figures say, Slurm's own word is asked for.
    assert found[-1].kind == "fix"


def test_the_plan_says_when_each_stage_could_start(clean_rig: Rig, project: Project) -> None:
    asks(project)
    said = project.trainrelay("plan", "--when").stdout
    node = clean_rig.booted().nodes[0]
    assert f"  when     now, on {node} (partition gpu)" in said
    assert "  when     after stage1 has been promoted; then Slurm decides" in said
    busy = clean_rig.sbatch("--gres=gpu:a40:8", "--time=90", "--output=/dev/null", "--wrap=sleep 600")
    try:
        later = project.trainrelay("plan", "--when").stdout
        assert "  when     20" in later
        assert "(in 1 h 2" in later or "(in 1 h 3" in later
    finally:
        clean_rig.scancel(str(busy))
    asks(project, account="nobody")
    assert (
        "when     Slurm refuses the request: Invalid account" in project.trainrelay("plan", "--when").stdout
    )


def test_what_sbatch_takes_and_never_starts_is_told_beforehand(clean_rig: Rig, project: Project) -> None:
    """A time above the partition's limit: `sbatch --test-only` names a start, the job would wait for good."""
    asks(project)
    clean_rig.scontrol("update", "PartitionName=gpu", "MaxTime=10")
    try:
        checked = "\n".join(lines(project, 2))
        planned = project.trainrelay("plan", "--when").stdout
    finally:
        clean_rig.scontrol("update", "PartitionName=gpu", "MaxTime=INFINITE")
    limit = "partition gpu allows 10 min, runtime_min asks for 15; set runtime_min: 10"
    assert f"fix   driving/stage1: {limit}" in checked
    assert planned.count(f"  when     never: {limit}") == 2
    assert "with --profile slurm-chain: as one job they would ask for 30 min" in planned


@pytest.mark.long
@pytest.mark.parametrize("limit", ["MaxTRESPerJob", "MaxTRESPerUser"])
def test_so_are_gpus_above_the_limit_of_the_qos_of_its_partition(
    clean_rig: Rig, project: Project, limit: str
) -> None:
    asks(project)
    clean_rig.sacctmgr("add", "qos", "few")
    clean_rig.sacctmgr("modify", "qos", "few", "set", f"{limit}=gres/gpu=4")
    try:
        clean_rig.scontrol("update", "PartitionName=gpu", "QOS=few")
        checked = "\n".join(lines(project, 2))
        planned = project.trainrelay("plan", "--when").stdout
    finally:
        clean_rig.scontrol("update", "PartitionName=gpu", "QOS=")
        clean_rig.sacctmgr("delete", "qos", "few")
    said = "QOS few allows 4 GPUs, 8 asked for; set resources.gpu, nodes or qos"
    assert f"fix   driving/stage1: {said}" in checked
    assert planned.count(f"  when     never: {said}") == 2


@pytest.mark.long
@pytest.mark.parametrize("who", ["account", "QOS"])
def test_so_is_a_time_above_the_limit_of_its_account_or_qos(
    clean_rig: Rig, project: Project, who: str
) -> None:
    asks(project)
    name, user = (ACCOUNT if who == "account" else "normal"), clean_rig.booted().user
    entity = ("user", user, "where", f"account={ACCOUNT}") if who == "account" else ("qos", "normal")
    if who == "QOS":  # a user of the rig has no default one
        asks(project, qos="normal")
        clean_rig.sacctmgr("modify", "user", user, "set", "QOS=normal")
    clean_rig.sacctmgr("modify", *entity, "set", "MaxWall=00:10:00")
    try:
        checked = "\n".join(lines(project, 2))
        planned = project.trainrelay("plan", "--when").stdout
    finally:
        clean_rig.sacctmgr("modify", *entity, "set", "MaxWall=-1")
    limit = f"{who} {name} allows 10 min, runtime_min asks for 15; set runtime_min: 10"
    assert f"fix   driving/stage1: {limit}" in checked
    assert planned.count(f"  when     never: {limit}") == 2
