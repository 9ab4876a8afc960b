"""What runs on the node: signals go to the trainer, and the job is requeued once it has ended.

The job's process and what it starts are real; squeue and scontrol are small scripts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from snakemake_executor_plugin_submitit.command import decide
from snakemake_executor_plugin_submitit.slurm import QueueRow

SOURCES = Path(__file__).resolve().parents[1] / "src"

JOB = """\
import json, sys
from snakemake_executor_plugin_submitit.command import Command
print(json.dumps(Command(*sys.argv[1:])()))
"""

# Named like Snakemake, it waits for its rule's shell whatever signal comes, as Snakemake does.
SNAKEMAKE = """\
import signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: None)
sys.exit(1 if subprocess.call(["bash", "-c", sys.argv[1]]) else 0)
"""

TRAINER = """\
import os, signal, sys, time
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
print("ready", flush=True, file=open("events", "a"))
end_s = time.monotonic() + 60
while not stopped and time.monotonic() < end_s:
    time.sleep(0.05)
open("stopping", "w").close()
time.sleep(0.5)
print("saved", file=open("events", "a"))
sys.exit(int(sys.argv[1]))
"""

SQUEUE = """\
#!/bin/sh
case "$*" in
"--jobs=${SLURM_ARRAY_JOB_ID:-7} --array --noheader --states=all --Format=JobID:"*) ;;
*) exit 9 ;;
esac
# The lines of the file: number, state, restarts, time of a preemption, reason.
while read -r id state restarts at reason; do
    printf "%s" "$id|$state|$reason||||||||$restarts|$at|" | tr "|" "\\037"
    echo
done < standing
"""

SCONTROL = """\
#!/bin/sh
id=${SLURM_ARRAY_JOB_ID:+6_1}; id=${id:-7}
[ "$*" = "--oneliner show job $id" ] && { echo "JobId=7 ExcNodeList=n9 Comment=x"; exit; }
[ "$*" = "update JobId=$id ExcNodeList=n9,n1,n[3-4]" ] && { echo excluded >> events; exit; }
[ "$*" = "requeue $id" ] || exit 9
[ -e refuse ] && { echo "Requested operation is presently disabled for job 7" >&2; exit 1; }
[ -e away ] && { rm away; echo "Unable to contact slurm controller (connect failure)" >&2; exit 1; }
echo requeued >> events
"""


@dataclass
class Node:
    """A folder on a node of Slurm in which one job runs."""

    folder: Path
    standing: str = "7 RUNNING 0 N/A None"
    restarts: str = "0"
    array: dict[str, str] = field(default_factory=dict)  # Slurm's variables of an array's task
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, rule: str, bare: bool = False) -> subprocess.Popen[str]:
        """Submitit's process, running a Snakemake that runs this shell line; `bare`: the line alone."""
        for name, text in {"squeue": SQUEUE, "scontrol": SCONTROL}.items():
            (self.folder / name).write_text(text, encoding="utf-8")
            (self.folder / name).chmod(0o755)
        for name, text in {"snakemake": SNAKEMAKE, "trainer.py": TRAINER}.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        (self.folder / "standing").write_text(f"{self.standing}\n", encoding="utf-8")
        line = rule if bare else f'"{sys.executable}" snakemake "{rule}"'
        env = {
            **os.environ,
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(SOURCES),
            "SLURM_JOB_ID": "7",
            "SLURM_RESTART_COUNT": self.restarts,
            "SLURM_JOB_NODELIST": "n1",
            **self.array,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, line, str(self.folder), str(self.folder), "slurm"],
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def trains(self, rule: str, bare: bool = False) -> subprocess.Popen[str]:
        """The same, once the trainer is ready."""
        process = self.start(rule, bare)
        while "ready" not in self.events():
            assert process.poll() is None
            time.sleep(0.05)
        return process

    def events(self) -> list[str]:
        path = self.folder / "events"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    for process in node.processes:
        process.kill()


def end_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The result's end and reason; `left` and the exit status where there is no result."""
    out, _ = process.communicate(timeout=60)
    if process.returncode:
        return "left", str(process.returncode)
    result = json.loads(out)
    return result["end"], result["reason"]


def trainer(status: int = 75) -> str:
    return f"exec {sys.executable} trainer.py {status}"


def test_a_command_that_ends_well_is_done(node: Node) -> None:
    """Nothing is asked of Slurm."""
    assert end_of(node.start("true")) == ("done", "")


def test_a_command_that_fails_by_itself_has_failed(node: Node) -> None:
    """It is not requeued."""
    assert end_of(node.start("exit 3")) == ("failed", "its command ended with exit status 1")
    assert node.events() == []


@pytest.mark.parametrize("signum", [signal.SIGUSR2, signal.SIGTERM])
@pytest.mark.parametrize("rule", [trainer(), f"{sys.executable} trainer.py 75; echo after; exit 1"])
def test_a_warning_reaches_the_trainer_and_the_requeue_waits_for_its_end(
    node: Node, signum: signal.Signals, rule: str
) -> None:
    """Also where the rule's shell is still there between Snakemake and the trainer."""
    process = node.trains(rule)
    process.send_signal(signum)
    assert end_of(process) == ("left", "1")
    assert node.events() == ["ready", "saved", "requeued"]


def test_a_signal_to_every_process_of_the_job_saves_too(node: Node) -> None:
    """Where Slurm does not single out submitit's process, Snakemake and our shell must not die of it."""
    process = node.trains(trainer())
    below = psutil.Process(process.pid).children(recursive=True)
    for signum in (signal.SIGUSR2, signal.SIGTERM):
        for child in below[:-1]:  # our shell and Snakemake; the trainer hears it from us
            child.send_signal(signum)
    process.send_signal(signal.SIGTERM)
    assert end_of(process) == ("left", "1")
    assert node.events() == ["ready", "saved", "requeued"]


def test_a_trainer_that_outlives_its_snakemake_is_waited_for(node: Node) -> None:
    """A requeued job must not train beside its own former run."""
    process = node.trains(trainer())
    snakemake = psutil.Process(process.pid).children(recursive=True)[1]
    process.send_signal(signal.SIGUSR2)
    while not (node.folder / "stopping").exists():
        time.sleep(0.01)
    snakemake.kill()
    assert end_of(process) == ("left", "1")
    assert node.events() == ["ready", "saved", "requeued"]


def test_a_shell_script_with_a_trap_hears_the_signal_itself(node: Node) -> None:
    """Its own handler saves; the command that it waits for is not ended behind its back."""
    script = "trap 'echo saved >> events; kill $!; exit 75' TERM\necho ready >> events\nsleep 60 & wait\n"
    (node.folder / "train.sh").write_text(script, encoding="utf-8")
    process = node.trains("bash train.sh")
    process.send_signal(signal.SIGTERM)
    assert end_of(process) == ("left", "1")
    assert node.events() == ["ready", "saved", "requeued"]


def test_what_was_finished_all_the_same_is_done(node: Node) -> None:
    """Exit 0 after a signal needs no requeue."""
    process = node.trains(trainer(status=0))
    process.send_signal(signal.SIGUSR2)
    assert end_of(process) == ("done", "")
    assert node.events() == ["ready", "saved"]


def test_a_refused_requeue_is_told_to_the_controller(node: Node) -> None:
    """It submits the job again; the reason is Slurm's."""
    (node.folder / "refuse").touch()
    process = node.trains(trainer())
    process.send_signal(signal.SIGUSR2)
    end, reason = end_of(process)
    assert end == "interrupted"
    assert "SIGUSR2" in reason
    assert "presently disabled" in reason


def test_a_requeue_is_asked_for_until_slurm_answers(node: Node) -> None:
    """A slurmctld that is away for a moment does not cost the job."""
    (node.folder / "away").touch()
    process = node.trains(trainer())
    process.send_signal(signal.SIGUSR2)
    assert end_of(process) == ("left", "1")
    assert node.events()[-1] == "requeued"


@pytest.mark.parametrize("with_signal", [True, False])
def test_a_cancelled_job_saves_and_is_not_requeued(node: Node, with_signal: bool) -> None:
    """The cancel file alone is enough, should the signal get lost."""
    process = node.trains(trainer())
    (node.folder / "cancel").touch()
    if with_signal:
        process.send_signal(signal.SIGUSR2)
    assert end_of(process)[0] == "cancelled"
    assert node.events() == ["ready", "saved"]


def test_a_job_that_slurm_is_ending_leaves_the_decision_to_slurm(node: Node) -> None:
    """An outside scancel must not come back by a requeue of ours."""
    node.standing = "7 COMPLETING 0 N/A None"
    process = node.trains(trainer())
    process.send_signal(signal.SIGTERM)
    assert end_of(process) == ("left", "1")
    assert node.events() == ["ready", "saved"]


def test_an_old_run_on_a_lost_node_leaves_no_result(node: Node) -> None:
    """The job runs elsewhere by now, and the result file would be taken for the new run's."""
    node.standing = "7 RUNNING 1 N/A None"
    assert end_of(node.start("exit 3")) == ("left", "1")


SCANCEL = """\
#!/bin/sh
[ "$*" = "--quiet --state=PENDING 6" ] || exit 9
echo cancelled-the-rest >> events
"""


@pytest.fixture
def leg(node: Node) -> Node:
    """One whose job is a task of an array."""
    node.array = {"SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "1"}
    (node.folder / "scancel").write_text(SCANCEL, encoding="utf-8")
    (node.folder / "scancel").chmod(0o755)
    return node


@pytest.mark.parametrize(("rule", "end"), [("exit 0", "done"), ("exit 3", "failed")])
def test_the_leg_that_ends_the_job_cancels_the_others(leg: Node, rule: str, end: str) -> None:
    assert end_of(leg.start(rule))[0] == end
    assert leg.events() == ["cancelled-the-rest"]


def test_a_leg_leaves_the_rest_to_the_next_one(leg: Node) -> None:
    """Without a result, and without a requeue."""
    leg.standing = "7 RUNNING 0 N/A None\n6 PENDING 0 N/A JobArrayTaskLimit"
    process = leg.trains(trainer())
    process.send_signal(signal.SIGUSR2)
    assert process.communicate(timeout=60) == ("", None)
    assert process.returncode == 0
    assert leg.events() == ["ready", "saved"]


def test_a_leg_that_asks_for_other_nodes_is_requeued_instead_of_the_next_one(leg: Node) -> None:
    """The next one could start on these nodes."""
    leg.standing = "7 RUNNING 0 N/A None\n6 PENDING 0 N/A JobArrayTaskLimit"
    assert end_of(leg.start(ELSEWHERE)) == ("left", "1")
    assert leg.events() == ["cancelled-the-rest", "requeued", "excluded"]


def test_a_leg_that_starts_when_the_job_has_ended_runs_nothing(leg: Node) -> None:
    (leg.folder / "6_1_0_result.pkl").touch()
    process = leg.start("echo ran >> events")
    assert process.communicate(timeout=60) == ("", None)
    assert process.returncode == 0
    assert leg.events() == ["cancelled-the-rest"]


ELSEWHERE = "printf %s 'n1,n[3-4]' > $SUBMITIT_EXECUTOR_EXCLUDE; exit 75"


def test_a_command_that_asks_for_other_nodes_is_requeued_without_them(node: Node) -> None:
    """Beside those that the job excludes already; a job that may not be requeued has failed."""
    assert end_of(node.start(ELSEWHERE)) == ("left", "1")
    assert node.events() == ["requeued", "excluded"]
    (node.folder / "exclude").unlink()
    (node.folder / "refuse").touch()
    end, reason = end_of(node.start(ELSEWHERE))
    assert end == "failed"
    assert "run again without n1,n[3-4], and Slurm does not requeue it: Requested" in reason


def test_a_command_whose_wish_was_not_granted_may_not_ask_again(node: Node) -> None:
    """It would never run; the next run may."""
    assert end_of(node.start(ELSEWHERE)) == ("left", "1")
    assert end_of(node.start('test -z "$SUBMITIT_EXECUTOR_EXCLUDE"')) == ("done", "")
    assert end_of(node.start('test -n "$SUBMITIT_EXECUTOR_EXCLUDE"')) == ("done", "")


@pytest.mark.parametrize("written", ["", "n1 n2", "$(reboot)", "n" * 5000])
def test_what_is_no_list_of_nodes_is_not_asked_for(node: Node, written: str) -> None:
    rule = f"printf %s '{written}' > $SUBMITIT_EXECUTOR_EXCLUDE; exit 75"
    assert end_of(node.start(rule)) == ("failed", "its command ended with exit status 1")
    assert node.events() == []


RUNNING = QueueRow("7", "RUNNING")


@pytest.mark.parametrize(
    ("code", "stopped", "cancelled", "own", "expected"),
    [
        (0, True, True, RUNNING, "done"),
        (1, False, False, RUNNING, "failed"),
        (1, False, False, None, "failed"),
        (1, True, False, RUNNING, "requeue"),
        (1, True, False, None, "requeue"),
        (1, True, True, RUNNING, "cancelled"),
        (1, True, False, QueueRow("7", "COMPLETING"), "leave"),
        (1, True, False, QueueRow("7", "PENDING"), "leave"),
        (1, True, True, QueueRow("7", "RUNNING", restarts="1"), "leave"),
        (1, True, False, QueueRow("7", "SUSPENDED"), "requeue"),
        (1, True, False, QueueRow("7", "RUNNING", followed=True), "next"),
        (
            1,
            True,
            False,
            QueueRow("7", "RUNNING", preempted_at="2026-11", followed=True),
            "requeue",
        ),
        (1, True, True, QueueRow("7", "RUNNING", followed=True), "cancelled"),
        (1, False, False, QueueRow("7", "RUNNING", followed=True), "failed"),
    ],
)
def test_what_follows_on_an_end(
    code: int, stopped: bool, cancelled: bool, own: QueueRow | None, expected: str
) -> None:
    """Exit 0 is done; after a signal anything else is a requeue, unless Slurm or the controller decided."""
    assert decide(code, stopped, cancelled, own, restarts=0) == expected


def test_the_fakes_refuse_what_they_do_not_know(node: Node) -> None:
    """Or a wrong question would pass for a right one."""
    node.start("true").communicate(timeout=60)
    for command in (["squeue", "--all"], ["scontrol", "requeue", "8"]):
        assert subprocess.call([str(node.folder / command[0]), *command[1:]], cwd=node.folder) == 9
