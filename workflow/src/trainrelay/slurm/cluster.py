"""What the cluster has and allows: partitions, nodes, and how long one job may run."""

from __future__ import annotations

import math
import os
import pwd
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from snakemake_executor_plugin_submitit.resources import Request
from trainrelay.errors import SlurmError
from trainrelay.slurm.ask import ask, records, seconds, setting

_COUNT = re.compile(r"\d{1,6}")
# Flags of a node's state; POWERED_DOWN is none of them, such a node is started for a job.
_UNUSABLE = {"DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "ERROR", "UNKNOWN", "FUTURE"}


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition. `max_time_min`, `max_nodes` of a job; None: no limit, or none that we could read. `qos`:
    whose limits go before those of a job's own one."""

    name: str
    default: bool
    up: bool
    max_time_min: int | None
    max_nodes: int | None = None
    qos: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A node. `gpus` by type, "" where Slurm gives them none; cores and MB are what jobs may have."""

    name: str
    partitions: frozenset[str]
    gpus: Mapping[str, int]
    features: frozenset[str]
    cpus: int
    mem_mb: int
    usable: bool


def partitions() -> list[Partition]:
    """Every partition that this user may see; SlurmError."""
    return read_partitions(ask(["scontrol", "show", "partition", "--oneliner"]))


def nodes() -> list[Node]:
    """Every node that this user may see; SlurmError."""
    return read_nodes(ask(["scontrol", "show", "node", "--oneliner"]))


def read_partitions(text: str) -> list[Partition]:
    """From scontrol's lines; others are left out."""
    return [
        Partition(
            name=name,
            default=record.get("Default") == "YES",
            up=record.get("State", "UP") == "UP",
            max_time_min=None if (most_s := seconds(record.get("MaxTime", ""))) is None else most_s // 60,
            max_nodes=_number(record.get("MaxNodes", "")) or None,
            qos=record.get("QoS", ""),
        )
        for record in records(text)
        if (name := record.get("PartitionName"))
    ]


def read_nodes(text: str) -> list[Node]:
    """From scontrol's lines; others are left out."""
    return [
        Node(
            name=name,
            partitions=frozenset(_list(record.get("Partitions", ""))),
            gpus=gpus_of(record.get("Gres", "")),
            features=frozenset(_list(record.get("AvailableFeatures", ""))),
            # CPUEfctv: without the cores that Slurm keeps for itself; unknown to old versions.
            cpus=_number(record.get("CPUEfctv", "")) or _number(record.get("CPUTot", "")),
            mem_mb=max(_number(record.get("RealMemory", "")) - _number(record.get("MemSpecLimit", "")), 0),
            usable=_UNUSABLE.isdisjoint(re.findall(r"[A-Z_]+", record.get("State", ""))),
        )
        for record in records(text)
        if (name := record.get("NodeName"))
    ]


def gpus_of(gres: str) -> dict[str, int]:
    """GPUs by type, of `gpu:a40:8(S:0-1),gpu:2`; what is no GPU, or no number of them, is left out."""
    found: dict[str, int] = {}
    for entry in _list(re.sub(r"\([^)]*\)", "", gres)):
        words = entry.split(":")
        if words[0] == "gpu" and len(words) > 1 and _COUNT.fullmatch(words[-1]):
            kind = words[1] if len(words) > 2 else ""
            found[kind] = found.get(kind, 0) + int(words[-1])
    return found


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,15}", text) else 0


def _list(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip() and word.strip() != "(null)"]


Limit = Mapping[str, int]  # on one job: "min" that it runs, "gpus"; "over": it goes before a partition's QOS
_NONE: Limit = {}


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Of this user's accounts, each for a partition or "" and with its default QOS, and of every QOS."""

    account: str = ""  # the default one
    accounts: Mapping[tuple[str, str], tuple[str, Limit]] = field(default_factory=dict)
    qos: Mapping[str, Limit] = field(default_factory=dict)

    def on(self, what: str, asked: Request, partition: Partition) -> tuple[float, str]:
        """The limit on such a job, and whose it is; infinity: there is none.

        Of the first that sets one: the QOS of the partition, that of the job, the account.
        """
        account = asked.account or self.account
        own = self.accounts.get((account, partition.name)) or self.accounts.get((account, ""), ("", _NONE))
        limits = [(self.qos.get(one, _NONE), f"QOS {one}") for one in (partition.qos, asked.qos or own[0])]
        limits.sort(key=lambda pair: "over" not in pair[0])
        limits.append((own[1], f"account {account}"))
        return next(((limit[what], whose) for limit, whose in limits if what in limit), (math.inf, ""))


def job_limits() -> JobLimits:
    """As the accounting database knows them; none where it is away, or where Slurm enforces none."""
    with suppress(SlurmError):
        if "limits" in setting("AccountingStorageEnforce"):
            user, cluster = pwd.getpwuid(os.getuid()).pw_name, setting("ClusterName")
            columns = "format=DefaultAccount,Account,Partition,DefaultQOS,MaxWall,MaxTRES"
            rows = _shown("user", user, "withassoc", "where", f"cluster={cluster}", columns)
            known = _shown("qos", "format=Name,MaxWall,MaxTRES,MaxTRESPU,Flags")
            return JobLimits(
                account=rows[0][0] if rows else "",
                accounts={(account, part): (qos, _limit(*limit)) for _, account, part, qos, *limit in rows},
                qos={name: _limit(*limit) for name, *limit in known},
            )
    return JobLimits()


def _limit(wall: str, *tres: str) -> Limit:
    """`tres`: of a job, and of all jobs of a user, which one alone may be above, too; flags of the QOS."""
    wall_s, gpus = seconds(wall), re.findall(r"(?<![^,|])gres/gpu=(\d{1,9})(?![^,|])", "|".join(tres))
    limit = {"min": wall_s // 60} if wall_s is not None else {}
    limit |= {"gpus": min(map(int, gpus))} if gpus else {}
    return limit | ({"over": 1} if "OverPartQOS" in tres[-1] else {})


def _shown(*what: str) -> list[list[str]]:
    """Lines of sacctmgr that have all the columns."""
    said = ask(("sacctmgr", "--noheader", "--parsable2", "show", *what), deadline_s=30.0)
    return [row for line in said.splitlines() if len(row := line.split("|")) == what[-1].count(",") + 1]
