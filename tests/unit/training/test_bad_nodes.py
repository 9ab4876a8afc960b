"""On which nodes a run's trainings failed twice, and for how long its next jobs do without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.attempts import an_attempt
from support.stage_on_disk import OnDisk
from trainrelay.config import Site
from trainrelay.errors import Interrupted
from trainrelay.records import AttemptRecord
from trainrelay.training.bad_nodes import bad_nodes, leave, to_exclude
from trainrelay.training.context import StageContext

HOUR_S = 3600.0
XID = "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."


def attempt(
    number: int, nodes: str | None = "gpu03", end: str | None = "node", **fields: Any
) -> AttemptRecord:
    slurm = {"job_id": "7", "restarts": 0, "nodes": nodes} if nodes else None
    return an_attempt(number, slurm=slurm, end=end, **{"reason": XID, **fields})


def probes(outcome: str, rung: str = "nccl") -> list[dict[str, Any]]:
    common = {"error": None, "gb_per_s": {}, "seconds": 1.0, "log": "x"}
    return [{"rung": rung, "outcome": outcome, **common}]


def found(*attempts: AttemptRecord, now_s: float = 1000.0, avoid_h: float = 24.0) -> list[str]:
    return list(bad_nodes(attempts, now_s, avoid_h))


def test_the_second_failure_on_a_node_counts() -> None:
    assert found(attempt(1)) == []
    assert found(attempt(1), attempt(2, "gpu04")) == []
    assert found(attempt(1), attempt(2, "gpu04", "done"), attempt(3)) == ["gpu03"]
    assert found(attempt(1, "gpu[03-04]"), attempt(2, "gpu[03-04]")) == ["gpu[03-04]"]


def test_the_sentence_names_the_node_the_time_and_the_last_failure() -> None:
    (said,) = bad_nodes([attempt(1, reason="a"), attempt(2)], 1000.0, 24.0).values()
    assert said == f"gpu03 is avoided until 1970-01-02 00:04 UTC: this run failed there twice ({XID})"


@pytest.mark.parametrize(
    "end", ["lost", "comm", "hang", "trainer-bug", "killed", "oom-gpu", "interrupted", None]
)
def test_other_ends_do_not_count(end: str | None) -> None:
    assert found(attempt(1, end=end), attempt(2, end=end)) == []


def test_outside_of_slurm_there_is_no_node() -> None:
    assert found(attempt(1, None), attempt(2, None)) == []


def test_a_node_is_forgotten_after_its_last_failure() -> None:
    """Its last attempt ended at 250 s."""
    both = attempt(1), attempt(2)
    assert found(*both, now_s=250 + HOUR_S - 1, avoid_h=1) == ["gpu03"]
    assert found(*both, now_s=250 + HOUR_S, avoid_h=1) == []
    assert found(*both, avoid_h=0) == []
    assert found(*both, attempt(3, ended_s=1e300)) == []


def test_a_probe_that_hangs_counts_only_where_it_works_on_another_node() -> None:
    """A network may hang on every node."""
    hung = [attempt(number, end="done", probes=probes("hangs")) for number in (1, 2)]
    assert found(*hung) == []
    assert found(*hung, attempt(3, end="done", probes=probes("works"))) == []
    assert found(*hung, attempt(3, "gpu04", "done", probes=probes("works", "gloo"))) == []
    assert found(*hung, attempt(3, "gpu04", "done", probes=probes("works"))) == ["gpu03"]


# ---------------------------------------------------------------------- with a Slurm


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageContext:
    """A stage whose two attempts failed on gpu03 a moment ago."""
    monkeypatch.setattr("trainrelay.training.bad_nodes.time.time", lambda: 1000.0)
    monkeypatch.chdir(tmp_path)
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    for one in (attempt(1), attempt(2)):
        path = disk.paths.folder / f"attempts/00{one.number}/attempt.json"
        path.parent.mkdir(parents=True)
        path.write_text(one.model_dump_json())
    return StageContext(disk.config(), disk.paths.folder.parent.name, disk.paths.folder.name)


def sbatch(folder: Path, lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "sbatch").write_text(f"#!/bin/sh\n{lines}\n")
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.process
def test_a_node_without_which_no_job_could_start_is_not_excluded(
    at: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm is asked with the site's own --exclude beside it."""
    site = Site(sbatch=("--exclude=gpu01",))
    sbatch(tmp_path, f'echo "$@" > {tmp_path}/asked; echo Job 8 to start at now >&2', monkeypatch)
    names, (said,) = to_exclude(at, site)
    assert list(names) == ["gpu03"]
    assert "--exclude=gpu01,gpu03" in (tmp_path / "asked").read_text().split()
    sbatch(
        tmp_path,
        "echo allocation failure: Requested node configuration is not available >&2; exit 1",
        monkeypatch,
    )
    names, (refused,) = to_exclude(at, site)
    assert list(names) == []
    assert refused.startswith(said)
    assert "not excluded, since no job could then start (Requested node" in refused


@pytest.mark.process
def test_a_job_on_such_a_node_asks_its_executor_for_another_one(
    at: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where no executor offers that, nor on another node."""
    sbatch(tmp_path, "echo Job 8 to start at now >&2", monkeypatch)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu03")
    leave(at)
    monkeypatch.setenv("SUBMITIT_EXECUTOR_EXCLUDE", str(tmp_path / "exclude"))
    with pytest.raises(Interrupted, match="gpu03 is avoided until"):
        leave(at)
    assert (tmp_path / "exclude").read_text() == "gpu03"
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu04")
    leave(at)
