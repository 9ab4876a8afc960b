"""By what a job is known again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.identity import (
    comment_of,
    digest_of,
    live_jobs,
    new_token,
    slug,
)
from snakemake_executor_plugin_submitit.slurm import QueueRow

HERE = "/data/run"
MINE = digest_of(HERE, ["train"], ["a.json", "b.json"])


def of_work(workdir: str) -> str:
    return digest_of(workdir, ["train"], ["a.json", "b.json"])


def found_in(rows: list[QueueRow], workdir: str = HERE) -> list[tuple[QueueRow, str]]:
    return live_jobs(of_work, workdir, rows)


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
    job = QueueRow("7", "RUNNING", comment=f" {ours} ", workdir=HERE)
    assert found_in([job]) == [(job, token)]
    assert found_in([QueueRow("7", "RUNNING", comment=change.format(MINE, ours))]) == []


def test_the_live_job_with_the_same_digest_is_found() -> None:
    """A running one before a waiting one, the oldest of several; ended and other ones never."""
    rows = [
        row("3", "COMPLETED"), row("4", "RUNNING", "0" * 32), row("5", "PENDING"), row("10", "RUNNING"),
        row("9", "RUNNING"), QueueRow("2", "RUNNING", "None", "", "(null)", "/dev/null", "(null)"),
    ]  # fmt: skip
    assert [found.job_id for found, _ in found_in(rows)] == ["9", "10", "5"]
    assert found_in(rows[:2]) == []


@pytest.mark.parametrize("comment", ["(null)", "site:checked", comment_of("0" * 32, "x")])
def test_a_job_whose_comment_a_site_rewrote_is_known_by_its_files(comment: str) -> None:
    """By its output or its script alone, wherever the folder is; never by those of other work."""
    token = new_token(MINE)
    output, script = f"/a |b/train/{token}/%j_0_log.out", f"/a |b/train/{token}/.submission_file_0.sh"
    for paths in ((output, script), (output, "/tmp/site.sh"), ("/dev/null", script)):
        found = found_in([QueueRow("7", "RUNNING", "None", "", comment, *paths)])
        assert [of for _, of in found] == [token]
    other = f"/a/train/{new_token('1' * 32)}/{token}.out"
    assert found_in([QueueRow("7", "RUNNING", "None", "", comment, other, other)]) == []


def test_two_submissions_never_share_a_folder() -> None:
    """A result file of an earlier job, or of a cluster that counts from 1 again, is never mistaken."""
    assert len({new_token(MINE) for _ in range(100)}) == 100


def test_a_name_is_safe_as_a_folder() -> None:
    """Whatever wildcards hold."""
    assert slug("train[run=../../x y%j]") == "train_run=.._.._x_y_j_"
    assert slug("..") == "job"
    assert len(slug("x" * 300)) == 80


def test_a_job_of_this_folder_by_another_path_or_of_one_that_is_gone_is_found(tmp_path: Path) -> None:
    """Its token tells the same work in the folder that it was submitted from; a copy is another folder."""
    here, copy, mounted, gone = (tmp_path / name for name in ("here", "copy", "mounted", "gone"))
    here.mkdir()
    copy.mkdir()
    mounted.symlink_to(here)  # to a stat the same as a bind mount
    for folder, is_found in ((mounted, True), (gone, True), (copy, False)):
        token = new_token(of_work(str(folder)))
        for state in ("RUNNING", "COMPLETED"):
            job = QueueRow("7", state, comment=comment_of(of_work(str(folder)), token), workdir=str(folder))
            assert found_in([job], str(here)) == ([(job, token)] if is_found and state == "RUNNING" else [])
            assert found_in([replace(job, comment=comment_of(MINE, new_token(MINE)))], str(here)) == []
