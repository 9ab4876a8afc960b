"""The rig's configuration files, as text.

An empty parameter or one unknown key breaks every client command, so every line stands here on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NUM_NODES = 2
NUM_GPUS = 8
CPUS_PER_NODE = 64
CLUSTER = "rig"
ACCOUNT = "driving"
DATABASE = "slurm_acct_db"

# From the first port on: slurmctld, slurmdbd, MariaDB, one slurmd per node.
NUM_PORTS = 3 + NUM_NODES


@dataclass(frozen=True)
class Layout:
    """What one rig is made of; nothing here changes while it is up."""

    folder: Path
    host: str
    """What `hostname -s` says."""
    user: str
    first_port: int
    cgroup: str | None
    """Slurm's cgroup plugin, `cgroup/v1` or `cgroup/v2`; None where no cgroup can be made."""
    prefix: str = "node"
    """The nodes are prefix1 and prefix2; rigs that are up at the same time need names of their own."""

    @property
    def nodes(self) -> list[str]:
        return [f"{self.prefix}{number}" for number in range(1, NUM_NODES + 1)]

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        return self.folder / "run/munge.socket"

    @property
    def slurmctld_port(self) -> int:
        return self.first_port

    @property
    def slurmdbd_port(self) -> int:
        return self.first_port + 1

    @property
    def database_port(self) -> int:
        return self.first_port + 2


def slurm_conf(layout: Layout) -> str:
    """slurm.conf: without systemd, quick to notice a dead node and to requeue."""
    folder, socket = layout.folder, layout.munge_socket
    hosts, ports = f"{layout.prefix}[1-{NUM_NODES}]", _ports(layout)
    return f"""\
ClusterName={CLUSTER}
SlurmctldHost={layout.host}(127.0.0.1)
SlurmUser={layout.user}
SlurmdUser={layout.user}
AuthType=auth/munge
# A requeued job waits until its old credential is over: by default two minutes.
AuthInfo=socket={socket},cred_expire=5
CredType=cred/munge
MpiDefault=none
ProctrackType={_proctrack(layout)}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SwitchType=switch/none
ReturnToService=2
SlurmctldPort={layout.slurmctld_port}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool/%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
MinJobAge=300
# Slurm's default is 30. A trainer that saves must end within it, on a busy machine, too.
KillWait=15
OverTimeLimit=0
BatchStartTimeout=10
MessageTimeout=10
CompleteWait=0
Waittime=0
# The nodes have more cores and memory here than the machine.
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2,batch_sched_delay=0,requeue_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Without it a job takes all memory of a node.
DefMemPerCPU=1000
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
GresTypes=gpu
# job_submit.lua beside this file: see Rig.site_lua.
JobSubmitPlugins=lua
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={layout.slurmdbd_port}
AccountingStoragePass={socket}
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu,gres/gpu:a40
AccountingStoreFlags=job_comment
NodeName={hosts} NodeHostname={layout.host} NodeAddr=127.0.0.1 Port={ports} CPUs={CPUS_PER_NODE} Boards=1 \
Sockets=2 CoresPerSocket={CPUS_PER_NODE // 2} ThreadsPerCore=1 RealMemory=256000 Gres=gpu:a40:{NUM_GPUS} \
State=UNKNOWN
{_partitions(layout)}"""


def _ports(layout: Layout) -> str:
    first = layout.first_port + 3
    return f"[{first}-{first + NUM_NODES - 1}]"


def _proctrack(layout: Layout) -> str:
    return "proctrack/cgroup" if layout.cgroup else "proctrack/linuxproc"


def _partitions(layout: Layout) -> str:
    """gpu and both give way to urgent with 20 s of grace, nograce with none."""
    one, all_nodes = layout.nodes[0], f"{layout.prefix}[1-{NUM_NODES}]"
    low, always = "PriorityTier=1 PreemptMode=REQUEUE", "MaxTime=INFINITE State=UP"
    return f"""\
PartitionName=gpu Nodes={one} Default=YES {always} {low} GraceTime=20
PartitionName=nograce Nodes={one} {always} {low} GraceTime=0
PartitionName=both Nodes={all_nodes} {always} {low} GraceTime=20
PartitionName=urgent Nodes={one} {always} PriorityTier=10 PreemptMode=OFF
"""


def gres_conf(layout: Layout) -> str:
    """gres.conf: each GPU is a character device; a count alone sets no CUDA_VISIBLE_DEVICES."""
    return (
        f"NodeName={layout.prefix}[1-{NUM_NODES}] Name=gpu Type=a40 "
        f"File={layout.folder}/dev/nvidia[0-{NUM_GPUS - 1}] Flags=nvidia_gpu_env\n"
    )


def job_submit_lua(submission: str = "", update: str = "") -> str:
    """job_submit.lua; slurmctld runs these lines for each submission and update, described in `job`."""
    return f"""\
function slurm_job_submit(job, partitions, uid)
{submission}
return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, uid)
{update}
return slurm.SUCCESS
end
"""


def cgroup_conf(layout: Layout) -> str:
    """cgroup.conf: cgroups hold a job's processes together and limit nothing."""
    by_hand = "IgnoreSystemd=yes\n" if layout.cgroup == "cgroup/v2" else "CgroupAutomount=no\n"
    # slurmd loads a plugin in any case; the one for v1 touches nothing before something asks it.
    return f"""\
CgroupPlugin={layout.cgroup or "cgroup/v1"}
CgroupMountpoint=/sys/fs/cgroup
{by_hand}\
ConstrainCores=no
ConstrainRAMSpace=no
ConstrainDevices=no
"""


def slurmdbd_conf(layout: Layout, password: str) -> str:
    """slurmdbd.conf; it holds the database's password, so nobody else may read it."""
    folder = layout.folder
    return f"""\
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={layout.slurmdbd_port}
SlurmUser={layout.user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={layout.database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc={DATABASE}
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
"""


def database_sql(password: str) -> str:
    """What MariaDB executes at its start: slurmdbd's database and user."""
    return f"""\
CREATE DATABASE IF NOT EXISTS {DATABASE};
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';
CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY '{password}';
GRANT ALL ON {DATABASE}.* TO 'slurm'@'127.0.0.1';
GRANT ALL ON {DATABASE}.* TO 'slurm'@'localhost';
"""
