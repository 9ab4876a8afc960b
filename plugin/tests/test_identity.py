"""By what a job is known again."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_submitit.identity import (
    comment_of,
    digest_of,
    jobs_of_other_folders,
    live_jobs,
    new_token,
    slug,
)
from snakemake_executor_plugin_submitit.slurm import QueueRow

MINE = digest_of("/data/run", ["train"], ["a.json", "b.json"])


def row(job_id: str, state: str, digest: str = MINE) -> QueueRow:
    return QueueRow(job_id, state, "None", "", comment_of(digest, new_token(digest)), "", "")


def test_the_same_work_has_the_same_digest_in_every_controller() -> None:
    """Whatever the order; another folder, rule or file is other work."""
    assert digest_of("/data/run", ["train"], ["b.json", "a.json"]) == MINE
    others = [
        digest_of("/data/run2", ["train"], ["a.json", "b.json"]),
        digest_of("/data/run", ["train2"], ["a.json", "b.json"]),
        digest_of("/data/run", ["train"], ["a.json"]),
        digest_of("/data/run", ["train"], ["a.jsonb.json"]),
    ]
    assert MINE not in others


@pytest.mark.parametrize("change", ["", "(null)", "snakemake-submitit/{0}", "{1}/../x", "rule_a_wildcards_b"])
def test_a_comment_is_read_back_and_another_is_not(change: str) -> None:
    """Also behind the blanks of a column."""
    token = new_token(MINE)
    ours = comment_of(MINE, token)
    job = QueueRow("7", "RUNNING", comment=f" {ours} ")
    assert live_jobs(MINE, [job]) == [(job, token)]
    assert live_jobs(MINE, [QueueRow("7", "RUNNING", comment=change.format(MINE, ours))]) == []


def test_the_live_job_with_the_same_digest_is_found() -> None:
    """A running one before a waiting one, the oldest of several; ended and other ones never."""
    rows = [
        row("3", "COMPLETED"), row("4", "RUNNING", "0" * 32), row("5", "PENDING"), row("10", "RUNNING"),
        row("9", "RUNNING"), QueueRow("2", "RUNNING", "None", "", "(null)", "/dev/null", "(null)"),
    ]  # fmt: skip
    assert [found.job_id for found, _ in live_jobs(MINE, rows)] == ["9", "10", "5"]
    assert live_jobs(MINE, rows[:2]) == []


@pytest.mark.parametrize("comment", ["(null)", "site:checked", comment_of("0" * 32, "x")])
def test_a_job_whose_comment_a_site_rewrote_is_known_by_its_files(comment: str) -> None:
    """By its output or its script alone, wherever the folder is; never by those of other work."""
    token = new_token(MINE)
    output, script = f"/a |b/train/{token}/%j_0_log.out", f"/a |b/train/{token}/.submission_file_0.sh"
    for paths in ((output, script), (output, "/tmp/site.sh"), ("/dev/null", script)):
        found = live_jobs(MINE, [QueueRow("7", "RUNNING", "None", "", comment, *paths)])
        assert [of for _, of in found] == [token]
    other = f"/a/train/{new_token('1' * 32)}/{token}.out"
    assert live_jobs(MINE, [QueueRow("7", "RUNNING", "None", "", comment, other, other)]) == []


def test_two_submissions_never_share_a_folder() -> None:
    """A result file of an earlier job, or of a cluster that counts from 1 again, is never mistaken."""
    assert len({new_token(MINE) for _ in range(100)}) == 100


def test_a_name_is_safe_as_a_folder() -> None:
    """Whatever wildcards hold."""
    assert slug("train[run=../../x y%j]") == "train_run=.._.._x_y_j_"
    assert slug("..") == "job"
    assert len(slug("x" * 300)) == 80


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("/old/.snakemake/submitit/first/TOKEN/7_0_log.out", [("7", "/old")]),
        ("/new/.snakemake/submitit/first/TOKEN/7_0_log.out", []),
        ("/old/.snakemake/submitit/first/other/7_0_log.out", []),
        ("/old/logs/first/TOKEN/7_0_log.out", []),
        ("/dev/null", []),
        ("", []),
    ],
)
def test_a_job_of_another_working_folder_is_known_by_its_output(
    output: str, found: list[tuple[str, str]]
) -> None:
    """Its token tells the same work in the folder that the rest of the path names."""

    def digest_in(workdir: str) -> str:
        return digest_of(workdir, ["first"], ["first.out"])

    path = output.replace("TOKEN", new_token(digest_in("/old")))
    rows = [QueueRow("7", state, "None", "", "(null)", path, "(null)") for state in ("RUNNING", "COMPLETED")]
    assert list(jobs_of_other_folders(digest_in, "/new", "/new/.snakemake/submitit", rows)) == found
    assert list(jobs_of_other_folders(digest_in, "/new", "/scratch/submitit", rows)) == []
