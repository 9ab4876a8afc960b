"""The executor without a cluster: jobs on this machine, and an sbatch that refuses.

Each Snakemake runs with a path that holds the plugin alone; trainrelay cannot be imported there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_submitit.clusters import cluster_of
from snakemake_executor_plugin_submitit.errors import SubmititError
from snakemake_executor_plugin_submitit.settings import ExecutorSettings, checked

PLUGIN = Path(__file__).resolve().parents[1] / "src/snakemake_executor_plugin_submitit"

WORK = """\
import signal, sys, time
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
print("ready", flush=True, file=open("events", "a"))
while not stopped:
    time.sleep(0.05)
time.sleep(2)
print("saved", file=open("events", "a"))
sys.exit(75)
"""

SNAKEFILE = """\
import sys
rule all:
    input: "good.out"
rule good:
    output: "good.out"
    resources: gpu=0, runtime=10
    shell: "touch {output}"
rule bad:
    output: "bad.out"
    shell: "exit 3"
rule long:
    output: "long.out"
    shell: "{sys.executable} work.py"
rule slow:
    output: "slow.out"
    shell: "sleep 3; touch {output}"
rule legs:
    output: "legs.out"
    resources: slurm_legs=9
    shell: "touch {output}"
rule misspelt:
    output: "misspelt.out"
    resources: gpus=8, gpu_model="a40"
    shell: "touch {output}"
"""

# What each pause of Snakemake was, where the executor takes a while to be set up.
PAUSES = """\
import asyncio, time
from snakemake_executor_plugin_submitit import settings

sleep, checked = asyncio.sleep, settings.checked

async def noted(delay, *more):
    print(delay, file=open("pauses", "a"))
    await sleep(delay, *more)

def slow(given):
    time.sleep(0.5)
    return checked(given)

asyncio.sleep, settings.checked = noted, slow
"""

# A Slurm whose sbatch says no and whose squeue knows no job.
SBATCH = """\
#!/bin/sh
echo "sbatch: error: invalid partition specified: nowhere" >&2
echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2
exit 1
"""


@dataclass
class Here:
    """A folder with a workflow, and a path with the plugin alone."""

    folder: Path
    path: Path

    def start(self, *arguments: str, cluster: str = "local") -> subprocess.Popen[str]:
        command = [
            *(sys.executable, "-m", "snakemake", "--executor", "submitit", "--submitit-cluster", cluster),
            *("--jobs", "2", "--latency-wait", "5", *arguments),
        ]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.path), "PATH": f"{self.path}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, cluster: str = "local") -> tuple[int, str]:
        """Exit status and what was printed."""
        process = self.start(*arguments, cluster=cluster)
        out, _ = process.communicate(timeout=120)
        return process.returncode, out

    def events(self) -> list[str]:
        path = self.folder / "events"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


@pytest.fixture
def here(tmp_path: Path) -> Here:
    folder, path = tmp_path / "a folder", tmp_path / "path"
    folder.mkdir()
    path.mkdir()
    (path / PLUGIN.name).symlink_to(PLUGIN)
    (path / "trainrelay.py").write_text("raise ImportError('not here')", encoding="utf-8")
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    (folder / "work.py").write_text(WORK, encoding="utf-8")
    return Here(folder, path)


def put(here: Here, name: str, text: str) -> None:
    (here.path / name).write_text(text, encoding="utf-8")
    (here.path / name).chmod(0o755)


def test_the_plugin_works_alone_in_a_folder_with_a_blank(here: Here) -> None:
    """A job runs, and its log stays while submitit's own files go."""
    status, said = here.run()
    assert status == 0, said
    assert (here.folder / "good.out").exists()
    files = [path for path in (here.folder / ".snakemake/submitit/good").rglob("*") if path.is_file()]
    assert [path.name.split("_", 1)[1] for path in files] == ["0_log.out"]


def test_a_failed_command_is_reported_with_its_log(here: Here) -> None:
    """The reason, and where to read on."""
    status, said = here.run("bad.out")
    assert status == 1
    assert "bad (job " in said
    assert "its command ended with exit status 1" in said
    assert "_log.out" in said


def test_jobs_are_looked_at_in_short_pauses_from_the_start(here: Here) -> None:
    """The interface's thread runs before the executor is set up."""
    put(here, "sitecustomize.py", PAUSES)
    status, said = here.run()
    assert status == 0, said
    pauses = [float(line) for line in (here.folder / "pauses").read_text().split()]
    assert max(pauses) <= 0.1


def test_a_misspelt_request_is_one_sentence_and_starts_nothing(here: Here) -> None:
    """No traceback."""
    status, said = here.run("misspelt.out")
    assert status == 1
    assert "misspelt: gpus=8 would not ask Slurm for these GPUs: write gpu=8, gpu_model=a40" in said
    assert "Traceback" not in said
    assert not (here.folder / "misspelt.out").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_ctrl_c_lets_the_job_save_and_leaves_no_process(here: Here, signum: signal.Signals) -> None:
    """On a terminal Ctrl-C reaches the whole group: the job's own end must still be waited for."""
    process = here.start("long.out")
    while not here.events():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signum) if signum == signal.SIGINT else process.send_signal(signum)
    out, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert here.events() == ["ready", "saved"], out
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_ctrl_c_where_slurm_never_answered_waits_for_no_job(here: Here) -> None:
    for name in ("sbatch", "squeue", "scancel", "srun", "scontrol"):
        put(here, name, "#!/bin/sh\necho 'error: Unable to contact slurm controller' >&2\nexit 1\n")
    process = here.start("good.out", cluster="slurm")
    assert process.stdout is not None
    told = iter(process.stdout.readline, "")
    assert any("Slurm does not answer; retrying" in line for line in told)
    time.sleep(1)  # Snakemake 9.27 loses a Ctrl-C that comes while it writes a line
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "may have submitted" not in said


def test_a_machine_without_a_configuration_of_slurm_ends_at_once_in_one_sentence(here: Here) -> None:
    for name in ("sbatch", "squeue", "scancel", "srun", "scontrol"):
        put(here, name, "#!/bin/sh\necho 'fatal: Could not establish a configuration source' >&2\nexit 1\n")
    status, said = here.run("good.out", cluster="slurm")
    assert status == 1
    assert "no Slurm is configured (slurm.conf, SLURM_CONF or configless) on this machine: start on" in said
    assert "Slurm does not answer" not in said
    assert "Traceback" not in said


def test_a_refused_submission_is_one_sentence_and_the_others_go_on(here: Here) -> None:
    """Slurm's own words, and no traceback."""
    put(here, "sbatch", SBATCH)
    for name in ("squeue", "scancel", "srun", "scontrol"):
        put(here, name, "#!/bin/sh\n")
    status, said = here.run("good.out", "bad.out", "--keep-going", cluster="slurm")
    assert status == 1
    for rule in ("good", "bad"):
        assert (
            f"{rule}: sbatch refuses it: Batch job submission failed: Invalid partition name specified"
            in said
        )
    assert said.count("Invalid partition name specified; invalid partition specified: nowhere; it asked") == 2
    assert "sbatch: error" not in said
    assert "Traceback" not in said


def test_a_job_whose_files_cannot_be_written_fails_alone(here: Here) -> None:
    """A full disk or a quota, as a file in the folder's place: what else runs is not ended."""
    blocked = here.folder / ".snakemake/submitit/good"
    blocked.parent.mkdir(parents=True)
    blocked.touch()
    status, said = here.run("good.out", "slow.out", "--keep-going")
    assert status == 1
    assert f"good: its files in {blocked}/" in said
    assert "cannot be written: [Errno 20] Not a directory" in said
    assert "Traceback" not in said
    assert (here.folder / "slow.out").exists(), said


# Takes arrays of two tasks at most, and refuses those for good.
FEW = """\
#!/bin/sh
legs=$(sed -n 's/^#SBATCH --array=1-\\([0-9]*\\)%1$/\\1/p' "$1")
echo "${legs:-1}" >>asked
[ "${legs:-1}" -gt 2 ] && why=AssocMaxSubmitJobLimit || why="Invalid partition name specified"
echo "sbatch: error: Batch job submission failed: $why" >&2
exit 1
"""


def test_as_many_legs_are_submitted_as_a_limit_allows(here: Here) -> None:
    """Not waited for: a limit below the number of legs never comes to allow them."""
    put(here, "sbatch", FEW)
    for name in ("squeue", "scancel", "srun", "scontrol"):
        put(here, name, "#!/bin/sh\n")
    status, said = here.run("legs.out", cluster="slurm")
    assert status == 1
    assert (here.folder / "asked").read_text().split() == ["9", "4", "2"]
    assert "Invalid partition name specified" in said
    assert "--array=1-2%1" in said


# A site's wrapper that refuses in its words; slurmctld is asked how long it may take to answer.
WRAPPER = "#!/bin/sh\necho asked >>asked\necho 'no project code for user x' >&2\nexit 1\n"


def test_a_refusal_in_words_that_are_not_slurms_is_one_once_no_job_has_appeared(here: Here) -> None:
    """Not after a moment, for the wrapper may have submitted first, and not never."""
    put(here, "sbatch", WRAPPER)
    put(here, "scontrol", "#!/bin/sh\necho 'MessageTimeout = 1 sec'\n")
    for name in ("squeue", "scancel", "srun"):
        put(here, name, "#!/bin/sh\n")
    status, said = here.run("good.out", "--submitit-poll-interval-s", "1", cluster="slurm")
    assert status == 1
    assert "good (no job): sbatch failed: no project code for user x; 2 s later there is no job of it" in said
    assert (here.folder / "asked").read_text() == "asked\n"
    assert not list((here.folder / ".snakemake/submitit/good").iterdir())


def test_a_wrong_setting_is_one_sentence(here: Here) -> None:
    """No traceback."""
    status, said = here.run("--submitit-poll-interval-s", "0")
    assert status == 1
    assert "--submitit-poll-interval-s 0: must be at least 1" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("setting", "right"),
    [
        ({"gpu_dialect": "gpus"}, "choose gres, gpus-per-node, gres-constraint"),
        ({"cluster": "pbs"}, "choose slurm, local$"),
        ({"folder": "logs/%j"}, "misreads '%' in a path: set another --submitit-folder"),
        ({"folder": "/a\\b"}, r"^'/a.*b': Slurm misreads .* in a path"),
        ({"folder": "/a\nb"}, r"^'/a\\nb': Slurm misreads '\\n' in a path"),
    ],
)
def test_each_setting_is_checked(setting: dict[str, Any], right: str) -> None:
    with pytest.raises(SubmititError, match=right):
        cluster_of(checked(ExecutorSettings(**setting)))
