"""What sbatch says to a submission, told once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.clusters import SlurmCluster, Submission
from snakemake_executor_plugin_submitit.command import Command
from snakemake_executor_plugin_submitit.errors import RefusedError, UnreachableError
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.settings import ExecutorSettings, checked


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of PATH, with an srun, by which submitit knows that there is a Slurm."""
    folder = tmp_path / "commands"
    folder.mkdir()
    says(folder, "srun", "nothing")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def says(folder: Path, program: str, text: str) -> None:
    (folder / program).write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 1\n", encoding="utf-8")
    (folder / program).chmod(0o755)


def submit(folder: Path) -> str:
    resources = {"gpu": 9, "gpu_model": "a40", "slurm_account": "nobody", "runtime": 15}
    command = Command("true", str(folder), str(folder / "job"), "slurm")
    order = Submission("train", "a comment", command, request_of(resources, threads=1))
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
        "sbatch refuses it: Batch job submission failed: Invalid account; change what it asks for:"
        " --nodes=1 --ntasks-per-node=1 --cpus-per-task=1 --time=15 --signal=USR2@120 --account=nobody"
        " --gres=gpu:a40:9 --requeue"
    )
    assert capfd.readouterr().err == ""


def test_what_the_user_or_an_allocation_set_reaches_neither_sbatch_nor_the_job(
    tmp_path: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In sbatch's environment alone: other threads read that of this process."""
    seen = tmp_path / "seen"
    (commands / "sbatch").write_text(f'#!/bin/sh\nenv >"{seen}"\ncat "$1" >>"{seen}"\necho job 7\n')
    (commands / "sbatch").chmod(0o755)
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
