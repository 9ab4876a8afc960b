"""Limits of accounts and QOS on one job, as sacctmgr prints them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from snakemake_executor_plugin_submitit.resources import Gpus
from trainrelay.errors import SlurmError
from trainrelay.slurm import Request, cluster
from trainrelay.slurm.cluster import JobLimits, Partition, job_limits

ACCOUNTS = """\
driving|driving|||01:00:00|cpu=64,gres/gpu=16
driving|driving|gpu|short|1-00:00:00|
driving|other||normal||
noise
"""
QOS = """\
normal||||
short|00:30:00|gres/gpu=8,mem=1T|cpu=9,gres/gpu:a40=1,gres/gpu=4|DenyOnLimit
over||gres/gpu=32||DenyOnLimit,OverPartQOS
part|00:10:00|gres/gpu=2||
"""


GPU, CPU = Partition("gpu", True, True, None), Partition("cpu", False, True, None, qos="N/A")
OWN = replace(GPU, qos="part")


def asks(account: str = "", qos: str = "") -> Request:
    return Request(Gpus(), 1, account=account, qos=qos)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> JobLimits:
    monkeypatch.setattr(cluster, "setting", lambda _: "associations,limits")
    monkeypatch.setattr(cluster, "ask", lambda argv, **_: QOS if "qos" in argv else ACCOUNTS)
    return job_limits()


def test_the_limit_of_the_qos_goes_before_that_of_the_account_and_its_partition_before_others(
    known: JobLimits,
) -> None:
    assert known.on("min", asks(), CPU) == (60, "account driving")
    assert known.on("min", asks(), GPU) == (30, "QOS short")
    assert known.on("min", asks(qos="normal"), GPU) == (1440, "account driving")
    assert known.on("min", asks("other", "short"), CPU) == (30, "QOS short")
    assert known.on("min", asks("other"), CPU) == (math.inf, "")
    assert known.on("min", asks("unknown"), CPU) == (math.inf, "")


def test_so_do_limits_on_gpus_of_a_job_or_of_all_jobs_of_a_user(known: JobLimits) -> None:
    assert known.on("gpus", asks(), CPU) == (16, "account driving")
    assert known.on("gpus", asks(), GPU) == (4, "QOS short")
    assert known.on("gpus", asks("other"), CPU) == (math.inf, "")


def test_the_qos_of_a_partition_goes_before_that_of_the_job_unless_that_says_otherwise(
    known: JobLimits,
) -> None:
    assert known.on("min", asks(qos="short"), OWN) == (10, "QOS part")
    assert known.on("gpus", asks(qos="short"), OWN) == (2, "QOS part")
    assert known.on("gpus", asks(qos="over"), OWN) == (32, "QOS over")
    assert known.on("min", asks(qos="over"), OWN) == (10, "QOS part")


@pytest.mark.parametrize("enforces", ["associations", "(null)", None])
def test_what_is_not_enforced_or_not_known_limits_nothing(
    monkeypatch: pytest.MonkeyPatch, enforces: str | None
) -> None:
    """None: slurmdbd is away."""

    def ask(*_: object, **__: object) -> str:
        if enforces is None:
            raise SlurmError("sacctmgr failed: slurmdbd")
        return ACCOUNTS

    monkeypatch.setattr(cluster, "setting", lambda _: enforces or "associations,limits")
    monkeypatch.setattr(cluster, "ask", ask)
    assert job_limits() == JobLimits()
