"""Slurm's part: whether it answers, and whether its partition has what a stage asks for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from trainrelay.errors import SlurmError
from trainrelay.preflight.check_result import CheckResult, fix, note, ok
from trainrelay.slurm import Request, unconfigured
from trainrelay.slurm.ask import accounting, could_start, live_jobs, ping
from trainrelay.slurm.cluster import JobLimits, Node, Partition

_SHOWN_KINDS = 6  # fit into one sentence


def slurmctld_check(*, wanted: bool = True) -> CheckResult:
    """Whether slurmctld answers; `wanted`: a cluster is used, so that one must be configured."""
    if why := unconfigured():
        if not wanted:
            return note("Slurm's commands are here, but no cluster is configured for them")
        return fix(f"{why} on this machine", "use a login node; check SLURM_CONF")
    try:
        first = ping()
    except SlurmError as error:
        return fix(f"Slurm does not answer ({error})", "try again later or on a login node; check SLURM_CONF")
    if first is None:
        return fix("slurmctld is down", "try again later, or ask those who run the cluster")
    try:
        live_jobs()
    except SlurmError as error:
        how = "jobs are followed by it; ask those who run the cluster (docs/slurm.md)"
        return fix(f"squeue does not list your jobs ({error})", how)
    return ok(f"Slurm answers: {first}")


def accounting_check() -> CheckResult:
    """Whether ended jobs are remembered; the workflow does without."""
    try:
        accounting(["1"])  # whether there was such a job does not matter
    except SlurmError as error:
        return note(f"no accounting ({error}); squeue and result files follow jobs, no lost node is avoided")
    return ok("Slurm's accounting answers (sacct)")


def conf_kept_back(environment: Mapping[str, str]) -> Iterator[str]:
    """Whether the official executor's jobs find Slurm's configuration: it keeps SLURM_CONF from them."""
    conf = environment.get("SLURM_CONF", "")
    if conf and Path(conf).resolve() != Path("/etc/slurm/slurm.conf").resolve():
        what = f"SLURM_CONF is {conf}, which --profile slurm-native keeps from its jobs"
        yield f"{what}: unless Slurm finds that file by itself, use --profile slurm"


def request_check(flags: Sequence[str], now: datetime) -> CheckResult:
    """Whether Slurm accepts a request with these flags of sbatch, as it would a submission."""
    try:
        start = could_start(flags)
    except SlurmError as error:
        return fix(f"Slurm refuses the request ({error})", "change the stage's resources or site.yaml")
    return ok(f"Slurm accepts the request; it could start {start.words(now)}")


def partition_checks(
    asked: Request, partitions: Sequence[Partition], nodes: Sequence[Node], limits: JobLimits
) -> list[CheckResult]:
    """Limits and nodes of the partition that a stage goes to; of several, the best."""
    known = {partition.name: partition for partition in partitions}
    names = asked.partition.split(",") if asked.partition else [one.name for one in partitions if one.default]
    if not names:
        return [note("no partition is set, and the cluster names no default one: Slurm chooses")]
    if missing := [name for name in names if name not in known]:
        listed = ", ".join(sorted(known)) or "none that you may see"
        how = f"set it (resources.partition, site.yaml) to one of: {listed}"
        return [fix(f"there is no partition {missing[0]}", how)]
    found = [list(_of_partition(asked, known[name], nodes, limits)) for name in names]
    return min(found, key=lambda checks: sum(check.kind == "fix" for check in checks))


def _of_partition(
    asked: Request, partition: Partition, nodes: Sequence[Node], limits: JobLimits
) -> Iterator[CheckResult]:
    name = partition.name
    if not partition.up:
        yield fix(f"partition {name} is not up", "set another one (resources.partition, site.yaml), or wait")
    most_min, whose = _most_min(asked, partition, limits)
    if (asked.runtime_min or 0) > most_min:
        what = f"{whose} allows {most_min:.0f} min, runtime_min asks for {asked.runtime_min}"
        yield fix(what, f"set runtime_min: {most_min:.0f}; a longer training continues in a follow-up job")
    if partition.max_nodes is not None and asked.nodes > partition.max_nodes:
        most = f"partition {name} gives a job {_count(partition.max_nodes)} at most"
        yield fix(f"{most}, {asked.nodes} asked for", "set resources.nodes or partition")
    gpus, (most_gpus, whose) = asked.gpus.number * asked.nodes, limits.on("gpus", asked, partition)
    if gpus > most_gpus:
        yield fix(f"{whose} allows {most_gpus} GPUs, {gpus} asked for", "set resources.gpu, nodes or qos")
    yield _nodes(asked, name, [node for node in nodes if name in node.partitions])


def _most_min(asked: Request, partition: Partition, limits: JobLimits) -> tuple[float, str]:
    """The least limit on the time of such a job, and whose it is."""
    whole = math.inf if partition.max_time_min is None else partition.max_time_min
    return min((whole, f"partition {partition.name}"), limits.on("min", asked, partition))


def chain_limit(asked: Sequence[Request], partitions: Sequence[Partition], limits: JobLimits) -> str:
    """Why one job for all of these trainings could never start; empty: it could."""
    if len(asked) < 2:
        return ""
    names = asked[0].partition.split(",")
    own = [one for one in partitions if (one.name in names if any(names) else one.default)]
    most_min, whose = max((_most_min(asked[0], one, limits) for one in own), default=(math.inf, ""))
    whole_min = sum(one.runtime_min or 0 for one in asked)
    if whole_min <= most_min:
        return ""
    what = f"as one job they would ask for {whole_min} min, {whose} allows {most_min:.0f} min"
    return f"{what}, so it would never start: use --profile slurm"


def _nodes(asked: Request, name: str, members: Sequence[Node]) -> CheckResult:
    if not members:
        return note(f"the nodes of partition {name} cannot be seen, so they are not checked")
    with_gpus = [node for node in members if _has_gpus(node, asked)]
    if len(with_gpus) < asked.nodes:
        wants = f"{asked.gpus.number} x {asked.gpus.model or 'GPU'}, {_count(asked.nodes)} asked for"
        what = f"partition {name} has {_count(len(with_gpus))} with {wants}"
        return fix(f"{what}; it has {_kinds(members)}", "set resources.gpu, gpu_model or partition")
    mem_mb = asked.mem_mb or 0
    fitting = [one for one in with_gpus if one.cpus >= asked.cpus_per_task and one.mem_mb >= mem_mb]
    if len(fitting) < asked.nodes:
        return fix(_too_small(asked, name, with_gpus), "lower cpus_per_gpu or mem_gb")
    gpus = f"{asked.gpus.number} x {asked.gpus.model or 'GPU'} and " if asked.gpus.number else ""
    what = f"partition {name}: {_count(len(fitting))} with {gpus}at least {asked.cpus_per_task} cores"
    usable = sum(node.usable for node in fitting)
    if usable < asked.nodes:
        return note(f"{what}, but only {usable} of them can be used now (others are down or drained)")
    return ok(what)


def _has_gpus(node: Node, asked: Request) -> bool:
    if not asked.gpus.number:
        return True
    if not asked.gpus.model or asked.gpu_dialect == "gres-constraint":
        model = not asked.gpus.model or asked.gpus.model in node.features
        return model and sum(node.gpus.values()) >= asked.gpus.number
    return node.gpus.get(asked.gpus.model, 0) >= asked.gpus.number


def _too_small(asked: Request, name: str, nodes: Sequence[Node]) -> str:
    cpus, mem_mb = max(node.cpus for node in nodes), max(node.mem_mb for node in nodes)
    wants = f"{asked.cpus_per_task} cores" + (f" and {asked.mem_mb} MB" if asked.mem_mb else "")
    return f"{wants} are asked for, the nodes of partition {name} have {cpus} cores and {mem_mb} MB at most"


def _count(nodes: int) -> str:
    return f"{nodes or 'no'} {'node' if nodes == 1 else 'nodes'}"


def _kinds(nodes: Sequence[Node]) -> str:
    """What GPUs there are, the most common first."""
    gpus = ([f"{number} x {kind or 'GPU'}" for kind, number in sorted(node.gpus.items())] for node in nodes)
    kinds = Counter(" + ".join(words) or "no GPU" for words in gpus)
    return ", ".join(f"{kind} on {_count(number)}" for kind, number in kinds.most_common(_SHOWN_KINDS))
