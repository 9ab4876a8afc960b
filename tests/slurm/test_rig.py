"""The rig is a real Slurm: what the other tests rely on holds on it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slurm.rig import Rig, RigError, wait_for

EIGHT = "--gres=gpu:a40:8"


def submit(rig: Rig, folder: Path, script: str, *options: str) -> int:
    """A batch job that writes its output to `out` in the folder, appending when it is requeued."""
    path = folder / "job.sh"
    path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
    quiet = (f"--chdir={folder}", "--output=out", "--open-mode=append")
    return rig.sbatch(*quiet, *options, str(path))


def wait_for_state(rig: Rig, job: int, *states: str) -> None:
    wait_for(lambda: rig.state(job) in states, f"job {job} to be {' or '.join(states)}")


def lines(folder: Path) -> list[str]:
    """What the job wrote so far; Slurm's own remarks about its end apart."""
    out = folder / "out"
    written = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    return [line for line in written if not line.startswith(("slurmstepd", "srun"))]


def wait_for_lines(folder: Path, num: int) -> None:
    wait_for(lambda: len(lines(folder)) >= num, f"{num} lines in {folder / 'out'}")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for rigs of its own: pytest's paths are longer than a socket's may be. None stays up."""
    with tempfile.TemporaryDirectory(prefix="rig-") as folder:
        yield Path(folder)
        for rig in filter(Path.is_dir, Path(folder).iterdir()):
            Rig(rig).down()


# ---------------------------------------------------------------------- jobs


def test_a_job_sees_its_eight_gpus(clean_rig: Rig, tmp_path: Path) -> None:
    """A job that asks for gpu:a40:8 sees CUDA devices 0 to 7, and accounting shows the eight A40s."""
    job = submit(clean_rig, tmp_path, "echo $CUDA_VISIBLE_DEVICES", EIGHT)
    wait_for_state(clean_rig, job, "COMPLETED")
    wait_for_lines(tmp_path, 1)
    assert lines(tmp_path) == ["0,1,2,3,4,5,6,7"]
    wait_for(lambda: clean_rig.sacct(job, "State") == [{"State": "COMPLETED"}], "its end in accounting")
    assert "gres/gpu:a40=8" in clean_rig.sacct(job, "AllocTRES")[0]["AllocTRES"].split(",")


@pytest.mark.long
def test_two_jobs_of_eight_gpus_run_one_after_the_other(clean_rig: Rig, tmp_path: Path) -> None:
    """A second job that wants all GPUs of a node waits for the first, although cores are free."""
    first = submit(clean_rig, tmp_path, "sleep 600", EIGHT)
    wait_for_state(clean_rig, first, "RUNNING")
    second = submit(clean_rig, tmp_path, "true", EIGHT)
    wait_for(lambda: clean_rig.squeue(second, "Reason")[0]["Reason"] in ("Resources", "Priority"), "a reason")
    clean_rig.scancel(str(first))
    wait_for_state(clean_rig, second, "COMPLETED")


@pytest.mark.long
def test_a_requeued_job_keeps_its_id(clean_rig: Rig, tmp_path: Path) -> None:
    """scontrol requeue starts the same job id again and counts the restart."""
    job = submit(clean_rig, tmp_path, "echo $SLURM_JOB_ID ${SLURM_RESTART_COUNT:-0}; sleep 600", EIGHT)
    wait_for_lines(tmp_path, 1)
    clean_rig.scontrol("requeue", str(job))
    wait_for_lines(tmp_path, 2)
    assert lines(tmp_path) == [f"{job} 0", f"{job} 1"]


def test_a_requeue_ends_reparented_processes(clean_rig: Rig, tmp_path: Path) -> None:
    """What a job left behind with an environment and a session of its own is gone when it is requeued."""
    if clean_rig.loses_processes():
        pytest.skip("no cgroup can be made here: Slurm loses reparented processes")
    job = submit(
        clean_rig, tmp_path, "(setsid env -i /bin/sh -c 'echo $$; exec /bin/sleep 600' &); sleep 600", EIGHT
    )
    wait_for_lines(tmp_path, 1)
    orphan = psutil.Process(int(lines(tmp_path)[0]))
    clean_rig.scontrol("requeue", str(job))
    wait_for_lines(tmp_path, 2)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


@pytest.mark.long
def test_preemption_warns_first(clean_rig: Rig, tmp_path: Path) -> None:
    """Partition gpu gives way to urgent: the --signal comes at once, and the same job id starts again."""
    script = "trap 'echo warned' USR2; echo start; for i in {1..6000}; do sleep 0.1; done"
    job = submit(clean_rig, tmp_path, script, EIGHT, "--signal=B:USR2@60")
    wait_for_lines(tmp_path, 1)
    urgent = submit(clean_rig, tmp_path, "true", EIGHT, "--partition=urgent", "--output=/dev/null")
    wait_for_state(clean_rig, urgent, "COMPLETED")
    wait_for_lines(tmp_path, 3)
    assert lines(tmp_path) == ["start", "warned", "start"]
    assert clean_rig.state(job) == "RUNNING"
    former = clean_rig.sacct(job, "JobID,State", "--duplicates")
    assert former[0] == {"JobID": str(job), "State": "PREEMPTED"}


@pytest.mark.long
def test_preemption_without_grace_comes_at_once(clean_rig: Rig, tmp_path: Path) -> None:
    """Partition nograce gives way to urgent with no warning, and the same job id starts again."""
    script = "trap 'echo warned' USR2; echo start; for i in {1..6000}; do sleep 0.1; done"
    job = submit(clean_rig, tmp_path, script, EIGHT, "--partition=nograce", "--signal=B:USR2@60")
    wait_for_lines(tmp_path, 1)
    submit(clean_rig, tmp_path, "true", EIGHT, "--partition=urgent", "--output=/dev/null")
    wait_for(lambda: lines(tmp_path).count("start") == 2, f"job {job} to start again")
    assert "warned" not in lines(tmp_path)


@pytest.mark.long
def test_preemption_without_requeue_ends_the_job(clean_rig: Rig, tmp_path: Path) -> None:
    """A job that refuses to be requeued ends as PREEMPTED."""
    job = submit(clean_rig, tmp_path, "echo; sleep 600", EIGHT, "--partition=nograce", "--no-requeue")
    wait_for_lines(tmp_path, 1)
    submit(clean_rig, tmp_path, "true", EIGHT, "--partition=urgent", "--output=/dev/null")
    wait_for_state(clean_rig, job, "PREEMPTED")


def test_a_job_runs_on_both_nodes(clean_rig: Rig, tmp_path: Path) -> None:
    """Partition both: one task on each node, with eight GPUs each."""
    options = ("--partition=both", "--nodes=2", "--ntasks-per-node=1")
    script = "srun bash -c 'echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES'"
    job = submit(clean_rig, tmp_path, script, EIGHT, *options)
    wait_for_state(clean_rig, job, "COMPLETED")
    assert sorted(lines(tmp_path)) == [f"{node} 0,1,2,3,4,5,6,7" for node in clean_rig.booted().nodes]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--account=nobody", "Invalid account"),
        ("--partition=nowhere", "invalid partition"),
        ("--qos=nothing", "Invalid qos"),
        ("--gres=gpu:a40:9", "node configuration is not available"),
        ("--gres=gpu:h100:1", "node configuration is not available"),
    ],
)
def test_sbatch_refuses_what_the_cluster_has_not(clean_rig: Rig, option: str, said: str) -> None:
    """An unknown account, partition, qos or GPU, and nine GPUs, are refused when they are submitted."""
    with pytest.raises(RigError, match=said):
        clean_rig.sbatch(option, "--output=/dev/null", "--wrap=true")


# ---------------------------------------------------------------------- daemons


@pytest.mark.long
def test_a_killed_node_comes_back(clean_rig: Rig, tmp_path: Path) -> None:
    """After kill -9 of a slurmd its job ends as NODE_FAIL; the node started again takes the next job."""
    node = clean_rig.booted().nodes[0]
    job = submit(clean_rig, tmp_path, "echo; sleep 600", EIGHT, "--no-requeue")
    wait_for_lines(tmp_path, 1)
    clean_rig.stop(f"slurmd.{node}", kill=True)
    wait_for_state(clean_rig, job, "NODE_FAIL")
    clean_rig.start(f"slurmd.{node}")
    again = submit(clean_rig, tmp_path, "true", EIGHT)
    wait_for_state(clean_rig, again, "COMPLETED")


@pytest.mark.long
@pytest.mark.parametrize("name", ["slurmctld", "slurmdbd"])
def test_a_job_outlives_a_restarted_daemon(clean_rig: Rig, tmp_path: Path, name: str) -> None:
    """A job goes on while slurmctld or slurmdbd is away, and its end reaches accounting afterwards."""
    job = submit(clean_rig, tmp_path, "echo; until [[ -e go ]]; do sleep 0.1; done", EIGHT)
    wait_for_lines(tmp_path, 1)
    clean_rig.stop(name)
    (tmp_path / "go").touch()
    clean_rig.start(name)
    wait_for_state(clean_rig, job, "COMPLETED")
    wait_for(lambda: clean_rig.sacct(job, "State") == [{"State": "COMPLETED"}], "its end in accounting")


# ---------------------------------------------------------------------- up and down


def test_a_rig_that_is_up_is_left_alone(clean_rig: Rig) -> None:
    """Booting again changes no process."""
    before = clean_rig.states()
    assert clean_rig.boot() is False
    assert clean_rig.states() == before


def test_a_second_rig_with_the_same_nodes_is_refused(clean_rig: Rig, tmp_path: Path) -> None:
    """Jobs of two rigs would share their cgroups, so the second one is told where the first is."""
    with pytest.raises(RigError, match=str(clean_rig.folder)):
        Rig(tmp_path / "second").boot()


def test_down_leaves_no_process(clean_rig: Rig, tmp_path: Path, short_path: Path) -> None:
    """A rig of its own: after down neither its daemons live nor its jobs, and the other rig lives on."""
    before = clean_rig.states()
    other = Rig(short_path / "other", prefix="spare")
    other.boot()
    submit(other, tmp_path, "(setsid env -i /bin/sleep 600 &); echo; sleep 600", EIGHT)
    wait_for_lines(tmp_path, 1)
    living = other.processes()
    assert len(living) > len(other.states())
    assert other.down() > 0
    assert [process for process in living if is_alive(process)] == []
    assert other.processes() == []
    assert clean_rig.states() == before


@pytest.mark.long
def test_down_ends_what_a_killed_boot_left(clean_rig: Rig, short_path: Path) -> None:
    """kill -9 in the middle of a boot, a pid never written down: down ends every daemon all the same."""
    other = Rig(short_path / "half", prefix="half")
    code = (
        "import sys; from pathlib import Path; from slurm.rig import Rig; "
        "Rig(Path(sys.argv[1]), prefix='half').boot(say=lambda line: print(line, flush=True))"
    )
    boot = subprocess.Popen(
        [sys.executable, "-c", code, str(other.folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=clean_rig.environment(PYTHONPATH=str(Path(__file__).parents[1])),
    )
    assert boot.stdout is not None
    assert any("slurmctld" in line for line in boot.stdout)
    boot.kill()
    boot.wait()
    (other.folder / "run/mariadbd.json").unlink()
    living = other.processes()
    assert "mariadbd" in {process.name() for process in living}
    other.down()
    assert [process for process in living if is_alive(process)] == []


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_folder_with_other_things_is_refused(short_path: Path) -> None:
    """Booting empties the rig's folder, so one that holds something else is left as it is."""
    (short_path / "thesis.tex").touch()
    with pytest.raises(RigError, match="holds other things"):
        Rig(short_path, prefix="none").boot()
    assert [path.name for path in short_path.iterdir()] == ["thesis.tex"]
