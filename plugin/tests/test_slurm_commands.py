"""What Slurm's commands print, and what it means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.environment import OwnRun, own_defaults, own_run, scrubbed
from snakemake_executor_plugin_submitit.errors import LimitError, RefusedError, UnclearError, UnreachableError

ALLOCATION = {
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_MEM_PER_NODE": "2000", "SBATCH_PARTITION": "cpu",
    "SRUN_CPUS_PER_TASK": "4", "SUBMITIT_EXECUTOR": "slurm", "CUDA_VISIBLE_DEVICES": "0",
}  # fmt: skip


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def line(*columns: str) -> str:
    filled = [*columns, *[""] * (10 - len(columns)), "0", "N/A"][:12]
    return "".join(f"{column}\x1f" for column in filled)


def test_squeue_rows_are_read_whatever_a_comment_or_a_path_holds() -> None:
    """Lines that are no rows are left out."""
    hostile = (
        "12",
        "RUNNING",
        "None",
        "node1",
        "a|b c",
        "/x |\u2028 ü/%j.out",
        "/x |'\"/s.sh",
        "12",
        "/a b",
        "x",
    )
    waiting = ("13", "PENDING", "Resources", "", "(null)", " /x", "(null)", "13", "/", "y")
    rows = slurm.parse_queue("\n".join([line(*hostile), line(*waiting), "slurm_load_jobs: noise", "|||", ""]))
    assert rows == {"12": slurm.QueueRow(*hostile), "13": slurm.QueueRow(*waiting)}


def test_a_cancelled_job_is_cancelled_by_whomever() -> None:
    """sacct writes who did it into the state."""
    assert slurm.parse_accounting("12|CANCELLED by 1000\n13|TIMEOUT\n") == {
        "12": "CANCELLED",
        "13": "TIMEOUT",
    }


ARRAY = {"12": ("PENDING", "12"), "13": ("FAILED", "12"), "14": ("RUNNING", "12"), "15": ("TIMEOUT", "12")}


@pytest.mark.parametrize(
    ("gone", "state"),
    [("", "RUNNING"), ("14", "PENDING"), ("14 12", "FAILED"), ("14 12 13", "TIMEOUT")],
)
def test_an_array_is_one_job_in_the_state_of_the_leg_that_counts(gone: str, state: str) -> None:
    legs = {task: of for task, of in ARRAY.items() if task not in gone.split()}
    lines = [line(task, name, "None", "n", "c", "", "", array) for task, (name, array) in legs.items()]
    plain = line("9", "PENDING", "None", "", "c", "", "", "9")
    jobs = slurm.as_jobs(slurm.parse_queue("\n".join([*lines, plain])).values())
    assert {job: row.state for job, row in jobs.items()} == {"12": state, "9": "PENDING"}
    accounted = "".join(f"12_{task}|{name}\n" for task, (name, _) in legs.items())
    assert slurm.parse_accounting(f"{accounted}9|PENDING\n") == {"12": state, "9": "PENDING"}


def test_of_legs_that_were_cancelled_before_they_ran_nothing_is_concluded() -> None:
    """A leg that ends the job cancels them."""
    rest = line("12", "CANCELLED", "None", "", "c", "", "", "12")
    assert slurm.as_jobs(slurm.parse_queue(rest).values())["12"].state == "CANCELLED"
    failed = line("13", "FAILED", "None", "n", "c", "", "", "12")
    assert slurm.as_jobs(slurm.parse_queue(f"{rest}\n{failed}").values())["12"].state == "FAILED"
    assert slurm.parse_accounting("12_1|FAILED\n12_[2-4%1]|CANCELLED by 0\n") == {"12": "FAILED"}


def test_an_array_cancelled_between_two_legs_was_cancelled() -> None:
    """The leg before has stopped without a result; one that Slurm ended would be run again."""
    for state, counts in (("COMPLETED", "CANCELLED"), ("TIMEOUT", "TIMEOUT")):
        rest = line("12", "CANCELLED", "None", "", "c", "", "", "12")
        ended = line("13", state, "None", "n", "c", "", "", "12")
        assert slurm.as_jobs(slurm.parse_queue(f"{rest}\n{ended}").values())["12"].state == counts
        assert slurm.parse_accounting(f"12_1|{state}\n12_[2-4%1]|CANCELLED by 0\n") == {"12": counts}


def test_an_array_cancelled_as_a_whole_was_cancelled_whatever_its_legs_did_before() -> None:
    said = "12_1|COMPLETED\n12_2|FAILED\n12_3|CANCELLED by 0\n12_[4-5%1]|CANCELLED by 0\n"
    assert slurm.parse_accounting(said) == {"12": "CANCELLED"}


def test_a_task_sees_itself_and_whether_another_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last task's id is that of the array, which lists all of them."""

    def standing(job_id: str, *rows: str) -> slurm.QueueRow | None:
        (tmp_path / "said").write_text("\n".join(rows))
        fake(tmp_path, monkeypatch, "squeue", f"cat '{tmp_path}/said'")
        return slurm.standing(job_id, array_id="12")

    ran = ("12", "RUNNING", "None", *[""] * 7, "1", "N/A")
    ended = line("13", "COMPLETED", "NonZeroExitCode", *[""] * 7, "0", "N/A")
    assert standing("12", line(*ran), ended) == slurm.QueueRow(*ran)
    waits = line("12", "PENDING", "JobArrayTaskLimit")
    preempted = ("13", "RUNNING", "None", *[""] * 7, "0", "2026-11-29T16:43:46")
    assert standing("13", waits, line(*preempted)) == slurm.QueueRow(*preempted, followed=True)
    assert standing("14", waits, line(*preempted)) is None
    assert standing("12", "slurm_load_jobs error: x", "12") is None


def test_a_users_own_defaults_do_not_hide_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQUEUE_PARTITION would; SLURM_CONF must stay, and what a step of the job around needs."""
    of_tools = "SBATCH_|SALLOC_|SRUN_|SQUEUE_|SACCT_|SCANCEL_|SINFO_|SCONTROL_|SLURM_TIME|SLURM_CLUSTERS"
    count = f'$(env | grep -cE "^({of_tools})")'
    row = line("1", "RUNNING", count, "$SLURM_JOB_ID", "$SLURM_CONF", "", "", "1", "/", "x")
    fake(tmp_path, monkeypatch, "squeue", f'echo "{row}"')
    for prefix in of_tools.removesuffix("|SLURM_TIME|SLURM_CLUSTERS").split("|"):
        monkeypatch.setenv(f"{prefix}PARTITION", "cpu")
    monkeypatch.setenv("SLURM_CLUSTERS", "other")
    for name, value in {"SLURM_TIME_FORMAT": "%s", "SLURM_CONF": "conf", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)
    assert slurm.queue()["1"] == slurm.QueueRow("1", "RUNNING", "0", "7", "conf", "", "", "1", "/", "x")


def test_all_that_a_command_prints_is_the_answer_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sbatch --test-only` answers on standard error."""
    fake(tmp_path, monkeypatch, "sbatch", "echo a b; echo to start at >&2")
    assert slurm.ask(["sbatch"]) == "a b\n"
    assert slurm.ask(["sbatch"], errors_too=True) == "a b\nto start at\n"


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "squeue", "exec sleep 600")
    with pytest.raises(UnreachableError, match=r"squeue gave no answer within 0.2 s"):
        slurm.queue(deadline_s=0.2)


def test_a_failure_is_one_bounded_sentence_without_escapes() -> None:
    """The last line tells what, those before it why."""
    said = "sbatch: error: \x1b[31mwhy\nallocation failure: what\n"
    assert str(slurm.failure("sbatch", said)) == "what;  [31mwhy"
    assert len(str(slurm.failure("scontrol", "x" * 10000))) == 300


def test_a_run_is_known_by_its_job_and_how_many_times_that_was_requeued() -> None:
    """The number of restarts is absent in a job's first run; what is no number is no job."""
    first = {"SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "gpu[03-04]"}
    assert own_run(first) == OwnRun("17", 0, "gpu[03-04]")
    assert own_run({**first, "SLURM_RESTART_COUNT": "2"}).restarts == 2
    for job in ("", "x", "1;2", "-1", "٣", "9" * 19):
        assert own_run({"SLURM_JOB_ID": job}) == OwnRun("", 0, "")


def test_a_task_of_an_array_is_named_so_that_its_commands_mean_it_alone() -> None:
    leg = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    assert own_run(leg).name == "12_3"
    for broken in ({"SLURM_ARRAY_TASK_ID": "-1"}, {"SLURM_ARRAY_JOB_ID": ""}):
        assert own_run({**leg, **broken}).name == "12"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition", RefusedError),
        (
            "sbatch: error: Requested node configuration is not available",
            RefusedError,
        ),
        ("sbatch: error: Unable to contact slurm controller (connect failure)", UnreachableError),
        (
            "sbatch: error: Socket timed out on send/recv operation",
            UnreachableError,
        ),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", UnreachableError),
        ("sbatch: unrecognized option '--x'\nTry \"sbatch --help\" for more information", RefusedError),
        ("allocation failure: Requested node configuration is not available", RefusedError),
        ("sbatch: line 3: timeout: command not found", UnclearError),
        ("wrapper: Unable to contact slurm controller (connect failure)", UnreachableError),
        ("", UnclearError),
    ],
)
def test_a_refusal_is_told_from_silence(said: str, kind: type[Exception]) -> None:
    """One is final, the other is asked again; either is one line."""
    error = slurm.failure("sbatch", said)
    assert type(error) is kind
    assert "\n" not in str(error)
    assert "error:" not in str(error)


POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's"
    " size and/or time limits)"
)


@pytest.mark.parametrize(
    "limit",
    [
        *("AssocMaxSubmitJobLimit", "AssocGrpSubmitJobsLimit", "QOSMaxSubmitJobPerUserLimit"),
        *("QOSGrpSubmitJobsLimit", "MaxSubmitJobsPerAccount"),
    ],
)
def test_a_limit_on_jobs_passes(limit: str) -> None:
    """Slurm's names of all five, in the line before the one that would be a refusal."""
    error = slurm.failure("sbatch", f"sbatch: error: {limit}\n{POLICY}\n")
    assert type(error) is LimitError
    assert str(error) == f"Slurm takes no more jobs for now ({limit})"


@pytest.mark.parametrize("limit", ["QOSMaxWallDurationPerJobLimit", "QOSMaxGRESPerJob", ""])
def test_a_limit_on_size_or_time_never_passes(limit: str) -> None:
    """The policy's own line names every kind of limit and tells none."""
    assert type(slurm.failure("sbatch", f"sbatch: error: {limit}\n{POLICY}\n")) is RefusedError


def test_the_time_that_slurm_takes_for_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As slurmctld shows it; Slurm's default where that may not be seen; asked again if nobody answers."""
    slurm.message_timeout_s.cache_clear()
    fake(tmp_path, monkeypatch, "scontrol", "echo 'slurm_load_ctl_conf error: Socket timed out' >&2; exit 1")
    with pytest.raises(UnreachableError):
        slurm.message_timeout_s()
    fake(
        tmp_path, monkeypatch, "scontrol", "echo 'MaxArraySize = 1'; echo 'MessageTimeout          = 60 sec'"
    )
    assert slurm.message_timeout_s() == 60
    slurm.message_timeout_s.cache_clear()
    fake(tmp_path, monkeypatch, "scontrol", "echo 'Access/permission denied' >&2; exit 1")
    assert slurm.message_timeout_s() == 10
    slurm.message_timeout_s.cache_clear()


def test_a_command_that_is_missing_or_fails_says_nothing_about_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """squeue with an exit status is no empty queue."""
    fake(tmp_path, monkeypatch, "squeue", "echo 'slurm_load_jobs error: whatever' >&2; exit 1")
    with pytest.raises(UnreachableError, match="whatever"):
        slurm.queue()
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(UnreachableError, match="squeue cannot be started"):
        slurm.queue()


def test_a_users_defaults_change_no_job_and_are_named() -> None:
    """A job asks for what its resources say; where Slurm is and who asks stays."""
    mine = {"SBATCH_GRES": "gpu:1", "SLURM_HINT": "x", "SRUN_CONTAINER": "y", "SLURM_CLUSTERS": "z"}
    shown = {"SQUEUE_FORMAT": "%i", "SLURM_TIME_FORMAT": "relative"}
    stays = {"SLURM_CONF": "c", "SLURM_JWT": "t", "CUDA_VISIBLE_DEVICES": "0"}
    assert scrubbed({**mine, **shown, **stays}) == stays
    assert own_defaults({**mine, **shown, **stays}) == sorted(mine)


def test_functions_of_a_users_shell_shadow_no_command_of_a_jobs_script() -> None:
    """The other ones stay: `module` of a set-up line is one."""
    mine = {f"BASH_FUNC_{name}%%": "() { :; }" for name in ("srun", "trap", "unset", "scancel", "module")}
    assert scrubbed(mine).keys() == {"BASH_FUNC_module%%"}


def test_inside_of_an_allocation_what_slurm_set_itself_is_not_named() -> None:
    assert own_defaults({**ALLOCATION, "SBATCH_CPU_BIND": "quiet", "SLURM_CONF": "c"}) == ["SBATCH_PARTITION"]


def test_of_an_allocation_stays_where_slurm_is_configured_and_outside_of_one_a_users_devices() -> None:
    assert scrubbed({**ALLOCATION, "SLURM_CONF": "c", "HOME": "/h"}) == {"SLURM_CONF": "c", "HOME": "/h"}
    login = {"SBATCH_ACCOUNT": "me", "SQUEUE_FORMAT": "%i", "SLURM_CONF": "c", "CUDA_VISIBLE_DEVICES": "1"}
    assert scrubbed(login) == {"SLURM_CONF": "c", "CUDA_VISIBLE_DEVICES": "1"}
