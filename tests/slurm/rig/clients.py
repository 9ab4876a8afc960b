"""Asking a rig: Slurm's client commands, their answers as Python values."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from slurm.rig.daemons import SYSTEM_PATH
from slurm.rig.errors import RigError

CLIENT_S = 60.0  # a client command that hangs (slurmctld away) must not hang a test


class Clients:
    """Slurm's client commands on one cluster, the one of this slurm.conf."""

    def __init__(self, conf: Path) -> None:
        self.conf = conf

    def environment(self, **more: str) -> dict[str, str]:
        """This process's environment without another Slurm's variables, with the rig's SLURM_CONF."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_"))
        }
        path = f"{inherited.get('PATH', '')}:{SYSTEM_PATH}".strip(":")
        return {**inherited, "PATH": path, "SLURM_CONF": str(self.conf), **more}

    def run(
        self, *argv: str, check: bool = True, timeout_s: float = CLIENT_S
    ) -> subprocess.CompletedProcess[str]:
        """Any command on this cluster; RigError with what it said where it failed and `check`."""
        try:
            done = subprocess.run(
                argv,
                env=self.environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise RigError(f"{argv[0]} gave no answer within {timeout_s:.0f} s") from error
        if check and done.returncode != 0:
            raise RigError(f"{' '.join(argv)} ended {done.returncode}: {done.stderr.strip()}")
        return done

    def sbatch(self, *argv: str) -> int:
        """Submits a batch job; its id."""
        return int(self.run("sbatch", "--parsable", *argv).stdout.split(";")[0])

    def scontrol(self, *argv: str) -> str:
        """What `scontrol` prints."""
        return self.run("scontrol", *argv).stdout

    def scancel(self, *argv: str) -> None:
        self.run("scancel", *argv)

    def warn(self, job: str) -> None:
        """The signal that Slurm sends near the time limit, to a job or to the task of an array that runs.

        To an array's id scancel would send it again and again while tasks wait, to the next ones, too; and
        it exits 229 for a task that got it (both 22.05).
        """
        rows = self.squeue(fields="JobID,ArrayJobID,State")
        runs = next(
            row for row in rows if row["State"] == "RUNNING" and job in (row["JobID"], row["ArrayJobID"])
        )
        self.run("scancel", "--signal=USR2", runs["JobID"], check=False)

    def sacctmgr(self, *argv: str) -> str:
        """What `sacctmgr` prints; it asks nothing back."""
        return self.run("sacctmgr", "-i", *argv).stdout

    def squeue(
        self, job: int | None = None, fields: str = "JobID,State,Reason,Partition"
    ) -> list[dict[str, str]]:
        """The jobs that slurmctld knows, ended ones too; one row per job, its fields by name."""
        names = fields.split(",")
        columns = ",".join(f"{name}:|" for name in names)
        asked = [f"--jobs={job}"] if job else []
        done = self.run("squeue", "-h", "-t", "all", f"--Format={columns}", *asked, check=False)
        if done.returncode != 0 and "Invalid job id" not in done.stderr:
            raise RigError(f"squeue ended {done.returncode}: {done.stderr.strip()}")
        return [row(names, line) for line in done.stdout.splitlines() if line]

    def sacct(
        self, job: int | None = None, fields: str = "JobID,State,AllocTRES,ExitCode", *argv: str
    ) -> list[dict[str, str]]:
        """What accounting keeps, without steps; with "--duplicates" each run of a requeued job."""
        asked = [f"--jobs={job}"] if job else ["--starttime=now-1day"]
        command = ("sacct", "-n", "-P", "-X", f"--format={fields}", *asked, *argv)
        return [row(fields.split(","), line) for line in self.run(*command).stdout.splitlines() if line]

    def state(self, job: int) -> str:
        """The state of a job in squeue's words, "" for a job that slurmctld does not know (any more)."""
        rows = self.squeue(job, "State")
        return rows[0]["State"] if rows else ""


def row(names: list[str], line: str) -> dict[str, str]:
    """One line of a client command, its columns separated by |."""
    return dict(zip(names, (value.strip() for value in line.split("|")), strict=False))
