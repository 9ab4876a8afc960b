"""MaxWall of accounts and QOS, as sacctmgr prints it."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_submitit.resources import Gpus
from trainrelay.errors import SlurmError
from trainrelay.slurm import Request, cluster
from trainrelay.slurm.cluster import WallLimits, wall_limits

ACCOUNTS = """\
driving|driving|||01:00:00
driving|driving|gpu|short|1-00:00:00
driving|other||normal|
noise
"""
QOS = "normal|\nshort|00:30:00\n"


def asks(account: str = "", qos: str = "") -> Request:
    return Request(Gpus(), 1, account=account, qos=qos)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> WallLimits:
    monkeypatch.setattr(cluster, "setting", lambda _: "associations,limits")
    monkeypatch.setattr(cluster, "ask", lambda argv, **_: QOS if "qos" in argv else ACCOUNTS)
    return wall_limits()


def test_the_limit_of_the_qos_goes_before_that_of_the_account_and_its_partition_before_others(
    known: WallLimits,
) -> None:
    assert known.of(asks(), "cpu") == (60, "account driving")
    assert known.of(asks(), "gpu") == (30, "QOS short")
    assert known.of(asks(qos="normal"), "gpu") == (1440, "account driving")
    assert known.of(asks("other", "short"), "cpu") == (30, "QOS short")
    assert known.of(asks("other"), "cpu") is None
    assert known.of(asks("unknown"), "cpu") is None


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
    assert wall_limits() == WallLimits()
