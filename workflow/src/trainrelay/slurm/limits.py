"""How long one job may run, by its account and its QOS: what Slurm accepts and then lets wait for good."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from snakemake_executor_plugin_submitit.resources import Request
from trainrelay.errors import SlurmError
from trainrelay.slurm.ask import ask, setting
from trainrelay.slurm.reading import seconds

_SHOW = ("sacctmgr", "--noheader", "--parsable2", "show")
_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class WallLimits:
    """MaxWall in minutes of this user's accounts, for a partition or "", and of each QOS; None: no limit."""

    account: str = ""  # the default one
    accounts: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    default_qos: Mapping[tuple[str, str], str] = field(default_factory=dict)
    qos: Mapping[str, int | None] = field(default_factory=dict)

    def of(self, asked: Request, partition: str) -> tuple[int, str] | None:
        """The limit on such a job, and whose it is; that of its QOS goes before its account's."""
        account = asked.account or self.account
        own = next((key for key in ((account, partition), (account, "")) if key in self.accounts), ("", ""))
        qos = asked.qos or self.default_qos.get(own, "")
        if (limit_min := self.qos.get(qos)) is not None:
            return limit_min, f"QOS {qos}"
        limit_min = self.accounts.get(own)
        return None if limit_min is None else (limit_min, f"account {account}")


def wall_limits() -> WallLimits:
    """As the accounting database knows them; none where it is away, or where Slurm enforces none."""
    with suppress(SlurmError):
        if "limits" in setting("AccountingStorageEnforce"):
            own = (*_SHOW, "user", pwd.getpwuid(os.getuid()).pw_name, "withassoc", "where")
            asked = (
                f"cluster={setting('ClusterName')}",
                "format=DefaultAccount,Account,Partition,DefaultQOS,MaxWall",
            )
            qos = ask((*_SHOW, "qos", "format=Name,MaxWall"), deadline_s=_DEADLINE_S)
            return read_wall_limits(ask((*own, *asked), deadline_s=_DEADLINE_S), qos)
    return WallLimits()


def read_wall_limits(accounts: str, qos: str) -> WallLimits:
    """From sacctmgr's lines; those of another shape are left out."""
    rows = [row for row in (line.split("|") for line in accounts.splitlines()) if len(row) == 5]
    return WallLimits(
        account=rows[0][0] if rows else "",
        accounts={(row[1], row[2]): _minutes(row[4]) for row in rows},
        default_qos={(row[1], row[2]): row[3] for row in rows},
        qos={name: _minutes(wall) for name, _, wall in (line.partition("|") for line in qos.splitlines())},
    )


def _minutes(text: str) -> int | None:
    limit_s = seconds(text)
    return None if limit_s is None else limit_s // 60
