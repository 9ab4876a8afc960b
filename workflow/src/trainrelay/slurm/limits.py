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


@dataclass(frozen=True, slots=True)
class WallLimits:
    """MaxWall of this user's accounts, each for a partition or "", and of every QOS; None: no limit."""

    account: str = ""  # the default one
    accounts: Mapping[tuple[str, str], tuple[str, int | None]] = field(default_factory=dict)  # default QOS, s
    qos: Mapping[str, int | None] = field(default_factory=dict)  # s

    def of(self, asked: Request, partition: str) -> tuple[int, str] | None:
        """The limit on such a job in minutes, and whose it is; that of its QOS goes before its account's."""
        account = asked.account or self.account
        own = self.accounts.get((account, partition)) or self.accounts.get((account, ""), ("", None))
        qos = asked.qos or own[0]
        limits = ((self.qos.get(qos), f"QOS {qos}"), (own[1], f"account {account}"))
        return next(((limit_s // 60, whose) for limit_s, whose in limits if limit_s is not None), None)


def wall_limits() -> WallLimits:
    """As the accounting database knows them; none where it is away, or where Slurm enforces none."""
    with suppress(SlurmError):
        if "limits" in setting("AccountingStorageEnforce"):
            user, cluster = pwd.getpwuid(os.getuid()).pw_name, setting("ClusterName")
            columns = "format=DefaultAccount,Account,Partition,DefaultQOS,MaxWall"
            rows = _shown("user", user, "withassoc", "where", f"cluster={cluster}", columns)
            return WallLimits(
                account=rows[0][0] if rows else "",
                accounts={(account, part): (qos, seconds(wall)) for _, account, part, qos, wall in rows},
                qos={name: seconds(wall) for name, wall in _shown("qos", "format=Name,MaxWall")},
            )
    return WallLimits()


def _shown(*what: str) -> list[list[str]]:
    """Lines of sacctmgr that have all the columns."""
    said = ask(("sacctmgr", "--noheader", "--parsable2", "show", *what), deadline_s=30.0)
    return [row for line in said.splitlines() if len(row := line.split("|")) == what[-1].count(",") + 1]
