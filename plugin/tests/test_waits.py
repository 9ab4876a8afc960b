"""Reasons for which a job waits until somebody does something."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_submitit.waits import help_for


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("JobHeldUser", "run: scontrol release 7"),
        ("JobHeldAdmin", "ask those who run the cluster"),
        ("launch failed requeued held", "run: scontrol release 7"),
        ("launch_failed_requeued_held", "run: scontrol release 7"),
        ("PartitionTimeLimit", "runtime is above its partition's limit; change that, then run: scancel 7"),
        ("QOSMaxWallDurationPerJobLimit", "runtime is above the limit of its account or QOS"),
        ("PartitionNodeLimit", "nodes"),
        ("QOSMaxGRESPerJob", "more than its account, QOS or partition gives to one job"),
        ("AssocMaxCpuPerJobLimit", "more than its account"),
        ("BadConstraints", "no node has all"),
        ("InvalidAccount", "account"),
        ("InvalidQOS", "QOS"),
        ("DependencyNeverSatisfied", "scancel 7"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", "it starts when they are back"),
    ],
)
def test_what_never_starts_by_itself_has_a_sentence_that_helps(reason: str, said: str) -> None:
    assert said in help_for(reason, "7")


@pytest.mark.parametrize(
    "reason",
    [
        *("", "None", "Priority", "Resources", "BeginTime", "Dependency", "JobArrayTaskLimit", "Reservation"),
        *(
            "QOSMaxGRESPerUser",
            "QOSMaxJobsPerUserLimit",
            "AssocGrpGRES",
            "AssocMaxJobsLimit",
            "QOSMaxCpuPerUserLimit",
        ),
        *("AssocMaxSubmitJobLimit", "Licenses", "Cleaning", "Prolog", "{job}", "SomethingNew"),
    ],
)
def test_what_passes_or_is_not_known_has_none(reason: str) -> None:
    assert help_for(reason, "7") == ""
