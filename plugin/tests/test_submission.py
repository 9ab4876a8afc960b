"""What sbatch says to a submission, told once."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.clusters import SlurmCluster
from snakemake_executor_plugin_submitit.command import Command
from snakemake_executor_plugin_submitit.errors import RefusedError, UnreachableError
from snakemake_executor_plugin_submitit.identity import new_token
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.settings import ExecutorSettings, checked
from snakemake_executor_plugin_submitit.submission import Submission

DIGEST = "ab" * 16
TOKEN = new_token(DIGEST)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of PATH, with an srun, by which submitit knows that there is a Slurm."""
    folder = tmp_path / "commands"
    folder.mkdir()
    says(folder, "srun", "nothing")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def says(folder: Path, program: str, text: str) -> None:
    runs(folder, program, f"echo '{text}' >&2\nexit 1")


def runs(folder: Path, program: str, lines: str) -> None:
    (folder / program).write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
    (folder / program).chmod(0o755)


def submit(folder: Path, threads: int = 1, **more: int) -> str:
    resources = {"gpu": 9, "gpu_model": "a40", "slurm_account": "nobody", "runtime": 15, **more}
    command = Command("true", str(folder), str(folder / TOKEN), "slurm")
    order = Submission("train", DIGEST, "", command, request_of(resources, threads))
    order.folder.mkdir()
    return SlurmCluster(checked(ExecutorSettings())).submit(order)


def test_a_refusal_names_the_reason_and_what_was_asked_for(
    tmp_path: Path, commands: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the exception's one sentence and nowhere else: sbatch's own line is not printed beside it."""
    says(commands, "sbatch", "sbatch: error: Batch job submission failed: Invalid account")
    with pytest.raises(RefusedError) as caught:
        submit(tmp_path)
    assert str(caught.value) == (
        "sbatch refuses it: Batch job submission failed: Invalid account; it asked for:"
        " --nodes=1 --ntasks-per-node=1 --cpus-per-task=1 --time=15 --signal=USR2@120 --account=nobody"
        " --gres=gpu:a40:9 --requeue; change its resources"
    )
    assert capfd.readouterr().err == ""


def test_what_the_user_or_an_allocation_set_reaches_neither_sbatch_nor_the_job(
    tmp_path: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In sbatch's environment alone: other threads read that of this process."""
    seen = tmp_path / "seen"
    runs(commands, "sbatch", f'env >"{seen}"; cat "$1" >>"{seen}"; echo Submitted batch job 7')
    for name in ("SBATCH_GRES", "SBATCH_EXPORT", "SLURM_JOB_ID", "SRUN_CPUS_PER_TASK", "SLURM_CONF"):
        monkeypatch.setenv(name, "x")
    before = dict(os.environ)
    assert submit(tmp_path) == "7"
    said = seen.read_text()
    environment = {line.partition("=")[0] for line in said.splitlines()}
    assert {name for name in environment if name.startswith(("SBATCH_", "SLURM_", "SRUN_"))} == {"SLURM_CONF"}
    assert dict(os.environ) == before
    # Whatever --export says, srun passes on what the script says.
    assert said.index("unset SLURM_EXPORT_ENV") < said.index("export SUBMITIT_EXECUTOR=slurm")


@pytest.mark.parametrize(
    ("legs", "variables", "named"),
    [
        (1, {"SLURM_JOB_ID": "7"}, "7_submitted.pkl"),
        (
            3,
            {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"},
            "7_2_submitted.pkl",
        ),
    ],
)
def test_one_process_runs_on_the_first_node_with_all_its_cores(
    tmp_path: Path, commands: Path, legs: int, variables: dict[str, str], named: str
) -> None:
    """srun does not inherit --cpus-per-task; submitit finds what it runs under its job's or leg's name."""
    runs(commands, "sbatch", "echo Submitted batch job 7")
    folder = tmp_path / "a  'b"
    folder.mkdir()
    assert submit(folder, threads=16, nodes=2, slurm_legs=legs) == "7"
    runs(commands, "srun", f'printf "%s\\n" "$@" >"{tmp_path}/seen"')
    env = {**os.environ, **variables}
    subprocess.run(["bash", str(folder / TOKEN / "submission.sh")], env=env, check=True)
    log = f"{folder / TOKEN}/%{'j' if legs == 1 else 'A'}_0_log.out"
    srun = ["--unbuffered", f"--output={log}", "--nodes=1", "--ntasks=1", "--cpus-per-task=16"]
    python = [sys.executable, "-u", "-m", "submitit.core._submit", str(folder / TOKEN)]
    assert (tmp_path / "seen").read_text().splitlines() == srun + python
    assert (folder / TOKEN / named).exists()


def test_what_starts_on_a_node_or_in_every_snakemake_does_not_wait_for_what_it_does_not_need() -> None:
    """Each import lies between two trainings."""
    code = "import sys, {}; sys.exit([name for name in {!r} if name in sys.modules] or 0)"
    package = "snakemake_executor_plugin_submitit"
    for module, absent in (
        (f"{package}.command", ["snakemake_interface_executor_plugins", "asyncio", f"{package}.executor"]),
        (f"{package}.executor", ["submitit", "snakemake"]),
    ):
        argv = [sys.executable, "-c", code.format(module, absent)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{module} loads {done.stderr}"


def test_a_slurm_that_does_not_answer_refuses_nothing(tmp_path: Path, commands: Path) -> None:
    """The job is to be submitted again."""
    says(commands, "sbatch", "sbatch: error: Unable to contact slurm controller (connect failure)")
    with pytest.raises(UnreachableError):
        submit(tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        "Hint: your job 114 uses 3% of its memory\nSubmitted batch job 116",
        "Submitted batch job 116 on cluster a\nSee job 117 for more",
    ],
)
def test_the_job_is_that_of_the_line_that_names_it(tmp_path: Path, commands: Path, said: str) -> None:
    """Any other number is another job of the user, which Ctrl-C would cancel."""
    runs(commands, "sbatch", f"echo '{said}'")
    assert submit(tmp_path) == "116"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("exit 0", "sbatch named no job: it printed nothing"),
        ("echo Your job 114 is done", "sbatch named no job: Your job 114 is done"),
        (
            "echo Submitted batch job 7; echo Submitted batch job 8",
            "sbatch named no job: Submitted batch job 7; Submitted batch job 8",
        ),
        ("kill -9 $$", "sbatch was killed by signal 9"),
        ("echo Quota unreadable >&2; exit 1", "sbatch failed: Quota unreadable"),
        ("exec sleep 30", "sbatch gave no answer within 0.2 s"),
    ],
)
def test_an_sbatch_that_names_no_job_gave_no_answer(
    tmp_path: Path, commands: Path, monkeypatch: pytest.MonkeyPatch, lines: str, says: str
) -> None:
    """It may have submitted one, which would run on unseen if this were a refusal."""
    if "sleep" in lines:
        monkeypatch.setattr(slurm, "ask", functools.partial(slurm.ask, deadline_s=0.2))
    runs(commands, "sbatch", lines)
    with pytest.raises(UnreachableError, match=f"^{says}$"):
        submit(tmp_path)


@pytest.mark.parametrize(
    ("of_the_queue", "kind"),
    [("", RefusedError), (f"/a/{TOKEN}/7.out", UnreachableError), (None, UnreachableError)],
    ids=["it is empty", "it holds the job", "it does not answer"],
)
def test_a_refusal_that_is_not_slurmctlds_is_one_if_there_is_no_such_job(
    tmp_path: Path, commands: Path, of_the_queue: str | None, kind: type[Exception]
) -> None:
    """A site's wrapper may complain in sbatch's words after it submitted. None: squeue does not answer."""
    says(commands, "sbatch", "sbatch: error: Invalid --mem specification")
    columns = ["7", "PENDING", "None", "", "a site", of_the_queue or "/b/8.out", "", "7", "", "", "0", ""]
    line = "".join(f"{column}\x1f" for column in columns)
    runs(commands, "squeue", "exit 1" if of_the_queue is None else f"printf '%s\\n' '{line}'")
    with pytest.raises(kind):
        submit(tmp_path)
