"""srun, squeue and scancel of a Slurm job that holds as many nodes as one likes, all of them this machine.

Each refuses what it does not know. Run as a script it is one of them, called by its name.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

JOB = "4711"


class FakeSlurm:
    """The commands, in a folder for PATH; what a test changes of them lies beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "steps").mkdir(parents=True)
        for name in ("srun", "squeue", "scancel"):
            script = folder / name
            script.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
            script.chmod(0o755)

    def install(self, monkeypatch: pytest.MonkeyPatch, nodes: int = 2) -> None:
        """This process is on the first node of such a job from now on."""
        monkeypatch.setenv("PATH", f"{self.folder}:{os.environ['PATH']}")
        monkeypatch.setenv("SLURM_JOB_ID", JOB)
        monkeypatch.setenv("SLURM_JOB_NUM_NODES", str(nodes))
        monkeypatch.setenv("SLURMD_NODENAME", "node1")

    def lose_a_node(self, *, for_calls: int = 10**9) -> None:
        """So many calls of srun do not reach the second node."""
        (self.folder / "lost").write_text(str(for_calls))

    def away(self) -> None:
        """slurmctld does not answer."""
        (self.folder / "away").touch()

    def steps(self) -> list[str]:
        """The names of the steps that live."""
        return [step["name"] for step in living(self.folder)]

    def told(self) -> list[str]:
        """What scancel was asked for, as typed."""
        path = self.folder / "told"
        return path.read_text().splitlines() if path.exists() else []


def living(folder: Path) -> list[dict[str, object]]:
    steps = [json.loads(path.read_text()) for path in sorted((folder / "steps").glob("*.json"))]
    return [step for step in steps if any(lives(pid) for pid in step["pids"])]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def send(pids: list[int], number: int) -> None:
    """As Slurm does with cgroups: all hear a SIGKILL, and of any other signal the task itself alone."""
    for pid in filter(lives, pids):
        (os.killpg if number == signal.SIGKILL else os.kill)(pid, number)


# ---------------------------------------------------------------------- the commands


def srun(folder: Path, words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srun", allow_abbrev=False)
    for option in ("nodes", "ntasks", "ntasks-per-node"):
        parser.add_argument(f"--{option}", type=int, required=True)
    parser.add_argument("--overlap", action="store_true", required=True)
    for option, value in {"mem": "0", "cpu-bind": "none", "kill-on-bad-exit": "1"}.items():
        parser.add_argument(f"--{option}", choices=[value], required=True)
    parser.add_argument("--input", choices=["none"], required=True)
    parser.add_argument("--export", choices=["ALL"], required=True)
    parser.add_argument("--job-name", required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args(words)
    if unreached(folder):
        error = "Task launch for StepId=4711.2 failed on node node2: Communication connection failure"
        print(f"srun: error: {error}", file=sys.stderr)
        return 233
    return step(folder, asked)


def unreached(folder: Path) -> bool:
    path = folder / "lost"
    calls = int(path.read_text()) if path.exists() else 0
    if calls:
        path.write_text(str(calls - 1))
    return calls > 0


def step(folder: Path, asked: argparse.Namespace) -> int:
    tasks = [task(asked.command, rank) for rank in range(asked.ntasks)]
    pids = [one.pid for one in tasks]
    number = len(list((folder / "steps").iterdir()))
    name = {"id": f"{JOB}.{number}", "name": asked.job_name, "pids": pids}
    (folder / f"steps/{number}.json").write_text(json.dumps(name))
    # As the real one: what it started is killed, on every node and at once.
    signal.signal(signal.SIGTERM, lambda *_: send(pids, signal.SIGKILL))
    while any(one.poll() is None for one in tasks):
        if any(one.returncode for one in tasks):
            send(pids, signal.SIGKILL)
        time.sleep(0.05)
    return max(one.returncode if one.returncode >= 0 else 128 - one.returncode for one in tasks)


def task(command: list[str], rank: int) -> subprocess.Popen[bytes]:
    env = {**os.environ, "SLURM_PROCID": str(rank), "SLURMD_NODENAME": f"node{rank + 1}"}
    return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, start_new_session=True)


def squeue(folder: Path, words: list[str]) -> int:
    assert words == ["--steps", f"--jobs={JOB}", "--noheader", "--format=%i|%j"], words
    print(f"{JOB}.batch|batch\n{JOB}.0|other|name")
    for found in living(folder):
        print(f"{found['id']}|{found['name']}")
    return 0


def scancel(folder: Path, words: list[str]) -> int:
    with (folder / "told").open("a") as file:
        file.write(shlex.join(words) + "\n")
    options = [word for word in words if word.startswith("-")]
    assert options in (["--quiet"], ["--quiet", "--signal=TERM"]), words
    number = signal.SIGTERM if len(options) > 1 else signal.SIGKILL
    for found in living(folder):
        if found["id"] in words:
            send(list(map(int, re.findall(r"\d+", str(found["pids"])))), number)
    return 0


if __name__ == "__main__":
    here = Path(sys.argv[0]).resolve().parent
    if (here / "away").exists() and Path(sys.argv[0]).name != "srun":
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    sys.exit({"srun": srun, "squeue": squeue, "scancel": scancel}[Path(sys.argv[0]).name](here, sys.argv[1:]))
