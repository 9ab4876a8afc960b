"""What sbatch is told for the controller's job."""

from __future__ import annotations

import shlex
from dataclasses import replace

from trainrelay.controller.job import (
    ControllerJob,
    comment_of,
    job_script,
    of_folder,
    sbatch_options,
    script_in,
)
from trainrelay.slurm import QueueRow

JOB = ControllerJob(
    workdir="/home/me/my runs",
    python="/env/my python",
    log_folder="runs",
    command=("control", "--configfile", "a b.yaml", "--", "--profile", "slurm"),
    time_min=720,
    mem_gb=1.5,
)


def test_the_job_is_small_is_warned_in_time_and_may_be_requeued() -> None:
    assert sbatch_options(JOB) == [
        *("--job-name=trainrelay", f"--comment={comment_of('/home/me/my runs')}"),
        *("--nodes=1", "--ntasks=1", "--cpus-per-task=1", "--mem=1500M", "--time=720"),
        *("--signal=B:USR2@60", "--requeue", "--open-mode=append", "--export=ALL"),
        *("--chdir=/home/me/my runs", "--output=runs/controller-%j.log", script_in(JOB.workdir)),
    ]


def test_what_the_site_wants_is_asked_for() -> None:
    job = replace(JOB, partition="cpu", account="me", qos="long", after="7")
    assert sbatch_options(job)[-5:-1] == [
        *("--partition=cpu", "--account=me", "--qos=long", "--dependency=afterany:7")
    ]


def test_a_per_cent_sign_in_the_folder_is_no_pattern() -> None:
    argv = sbatch_options(replace(JOB, log_folder="/data/50%j"))
    assert "--output=/data/50%%j/controller-%j.log" in argv


def test_the_script_runs_the_sites_lines_and_then_only_us() -> None:
    lines = job_script(replace(JOB, setup=("module load python",))).splitlines()
    assert lines[:3] == ["#!/bin/bash", "trap '' USR2", "module load python"]
    assert lines[3].startswith("exec ")
    assert shlex.split(lines[3])[1:] == [JOB.python, "-m", "trainrelay", *JOB.command]
    assert len(lines) == 4


def test_a_folders_controllers_are_known_by_comment_or_script() -> None:
    """A site may rewrite the one; a wrapper around sbatch submits a copy of the other."""
    rewritten = QueueRow("1", "RUNNING", "None", "n1", "site:checked", script=script_in(JOB.workdir))
    copied = QueueRow("2", "RUNNING", "None", "n1", comment_of(JOB.workdir), script="/tmp/a copy")
    other = f"{JOB.workdir}2"
    elsewhere = QueueRow("3", "RUNNING", "None", "n1", comment_of(other), script=script_in(other))
    assert of_folder(JOB.workdir, [rewritten, copied, elsewhere]) == [rewritten, copied]


def test_a_folder_is_known_by_its_name_alone() -> None:
    assert comment_of("/a") == comment_of("/a")
    assert comment_of("/a") != comment_of("/b")
    assert comment_of("/a/\udcff").startswith("trainrelay-controller/")
