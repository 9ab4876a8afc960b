"""The harness of the faults notices what it is there to notice, and its page is what was measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import faults.rows  # noqa: F401 (fills FAULTS)
from faults import run
from faults.bench import INJECTED, MARK, Bench
from faults.fault import FAULTS, Fault, FaultResult, Measurement, Row
from faults.page import PAGE, RESULTS, merged, read_rows, render, write_rows
from faults.play import play
from faults.stamps import Stamps, read_stamps

SEEN = Measurement(1.0, "killed", "attempt 2", "completes")
PLAYED = FaultResult(
    "a", "A", "how", "must", 1.25, "hang", "next", 2, 4, 0, "completes", 9.0, "2 cores", None
)


def played(row: Row, folder: Path) -> FaultResult:
    return play(Fault("made-up", "A made-up fault", "not at all", "nothing", False, row), folder / "project")


def stamp(bench: Bench, **facts: object) -> None:
    line = {"at_s": 1.0, "tag": "t", "rank": 0, "pid": 1, **facts}
    with bench.plan.with_name("stamps.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def checkpoint(bench: Bench) -> Path:
    bench.work_dir.mkdir(parents=True)
    path = bench.work_dir / "epoch_1.pth"
    path.write_bytes(b"weights")
    return path


def harmless(bench: Bench) -> Measurement:
    checkpoint(bench)
    bench.injected_now("nothing")
    return SEEN


def says_no(bench: Bench) -> Measurement:
    bench.injected_now("nothing")
    raise AssertionError("the stage did not complete")


def breaks(bench: Bench) -> Measurement:
    bench.injected_now("nothing")
    raise KeyError("train.json")


def injects_nothing(bench: Bench) -> Measurement:
    return SEEN


def loses_a_checkpoint(bench: Bench) -> Measurement:
    path = checkpoint(bench)
    bench.injected_now("nothing")
    path.unlink()
    return SEEN


def changes_a_checkpoint(bench: Bench) -> Measurement:
    path = checkpoint(bench)
    bench.injected_now("nothing")
    path.write_bytes(b"weightz")
    return SEEN


def judges_a_checkpoint_itself(bench: Bench) -> Measurement:
    bench.judged_by_row.add(checkpoint(bench))
    bench.injected_now("nothing")
    (bench.work_dir / "epoch_1.pth").unlink()
    return SEEN


def undoes_afterwards(bench: Bench) -> Measurement:
    bench.undo.callback(checkpoint(bench).unlink)
    bench.injected_now("nothing")
    return SEEN


def redoes_too_much(bench: Bench) -> Measurement:
    bench.injected_now("nothing")
    for tag in ("first", "second"):
        for iteration in range(1, 6):
            stamp(bench, event="iteration", tag=tag, epoch=1, iteration=iteration)
    return SEEN


def trains_twice(bench: Bench) -> Measurement:
    bench.injected_now("nothing")
    stamp(bench, event="start", alongside=[4711])
    return SEEN


def test_a_row_without_a_problem_is_no_miss(tmp_path: Path) -> None:
    row = played(harmless, tmp_path)
    assert (row.missed, row.processes_left, row.redone_iterations) == (None, 0, 0)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (says_no, "the stage did not complete"),
        (breaks, "the row itself failed: KeyError: 'train.json'"),
        (injects_nothing, "nothing was injected"),
        (loses_a_checkpoint, "epoch_1.pth was there when the fault (nothing) happened and is gone"),
        (changes_a_checkpoint, "epoch_1.pth is not as it was when the fault (nothing) happened"),
        (redoes_too_much, "an attempt redid 5 iterations, more than the 4 between checkpoints"),
        (trains_twice, "rank 0 of attempt t began while pids [4711] trained"),
    ],
)
def test_a_miss_is_one_and_says_why(row: Row, why: str, tmp_path: Path) -> None:
    assert played(row, tmp_path).missed == why


@pytest.mark.parametrize("row", [judges_a_checkpoint_itself, undoes_afterwards])
def test_a_checkpoint_that_a_row_answers_for_is_no_miss(row: Row, tmp_path: Path) -> None:
    """Neither one that the row judges itself, nor one that goes once everything was looked at."""
    assert played(row, tmp_path).missed is None
    assert not list(tmp_path.rglob("epoch_1.pth"))


def test_a_process_that_is_left_is_counted_and_ended(tmp_path: Path) -> None:
    left: list[subprocess.Popen[bytes]] = []

    def leaves_a_process(bench: Bench) -> Measurement:
        bench.injected_now("nothing")
        argv = [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"]
        left.append(subprocess.Popen(argv, env={MARK: bench.mark}, stdout=subprocess.PIPE))
        assert left[0].stdout is not None
        left[0].stdout.readline()
        return SEEN

    row = played(leaves_a_process, tmp_path)
    assert row.processes_left == 1
    assert row.missed == f"1 processes were left: [{left[0].pid}]"
    assert left[0].wait(60) == -9


# ---------------------------------------------------------------------- stamps


def iteration(tag: str, epoch: int, number: int, pid: int = 1) -> dict[str, object]:
    return {"event": "iteration", "tag": tag, "pid": pid, "epoch": epoch, "iteration": number}


def test_redone_is_what_an_attempt_before_had_done() -> None:
    lines = [iteration("a", 1, 1), iteration("a", 1, 2), iteration("a", 2, 1), iteration("b", 2, 1)]
    assert Stamps((*lines, iteration("b", 2, 2), iteration("c", 2, 2))).redone() == [1, 1]


def test_another_training_redoes_nothing_of_the_one_before() -> None:
    lines = [iteration("a", 1, 1), {"event": "new-training"}, iteration("b", 1, 1), iteration("c", 1, 1)]
    assert Stamps(tuple(lines)).redone() == [0, 1]


def test_redone_is_counted_where_tags_are_cleared_away() -> None:
    assert Stamps((iteration("", 1, 1, pid=1), iteration("", 1, 1, pid=2))).redone() == [1]


def test_a_stamp_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "stamps.jsonl"
    path.write_text('{"event": "fired"}\n{"event": "sta')
    assert [line["event"] for line in read_stamps(path).lines] == ["fired"]


def begun(folder: Path, tag: str) -> subprocess.Popen[str]:
    """A process that stamps its start as a rank of an attempt does, and then waits for its input to end."""
    code = "import injected_stamps, sys; injected_stamps.begin(); print(flush=True); sys.stdin.read()"
    env = {**os.environ, "PYTHONPATH": str(folder), "TRAINRELAY_ATTEMPT": tag, "RANK": "0"}
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], env=env, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_rank_that_begins_beside_one_of_another_attempt_is_seen(tmp_path: Path) -> None:
    """What lives at that moment counts: neither ranks of the same attempt nor those that are gone do."""
    folder = tmp_path / "injected"
    shutil.copytree(INJECTED, folder)
    tags = ("gone", "first", "first", "second")
    begun(folder, tags[0]).communicate()
    living = [begun(folder, tag) for tag in tags[1:]]
    for process in living:
        process.communicate()
    pids = [process.pid for process in living[:2]]
    starts = read_stamps(folder / "stamps.jsonl").of("start")
    assert [line["alongside"] for line in starts] == [[], [], [], pids]


def test_an_attempt_that_a_row_knows_to_train_apart_does_not_count_as_one_beside() -> None:
    first = {"event": "start", "tag": "first", "rank": 0, "pid": 1, "alongside": []}
    second = {**first, "tag": "second", "pid": 2, "alongside": [1]}
    third = {**first, "tag": "third", "pid": 3, "alongside": [1, 2]}
    stamps = Stamps((first, second, third))
    assert len(stamps.two_at_once()) == 2
    assert stamps.two_at_once({"first"}) == ["rank 0 of attempt third began while pids [2] trained"]


@pytest.mark.parametrize("words", [("injected_host", "node9", "3", "0"), ("injected_short_limits",)])
def test_what_stands_in_for_the_command_still_starts(words: tuple[str, ...]) -> None:
    """It replaces names inside trainrelay, which may move."""
    argv = [sys.executable, "-m", f"injected.{words[0]}", *words[1:], "stop", "--help"]
    subprocess.run(argv, cwd=INJECTED.parent, check=True, capture_output=True)


# ---------------------------------------------------------------------- the page


def test_the_page_is_what_was_measured() -> None:
    """docs/FAULTS.md is made from results.json and nothing else."""
    assert PAGE.read_text(encoding="utf-8") == render(read_rows(RESULTS))


def test_the_page_shows_every_fault_as_it_must_be() -> None:
    rows = read_rows(RESULTS)
    assert [row.name for row in rows] == list(FAULTS)
    assert [row.name for row in rows if row.missed] == []


def test_a_miss_shows_on_the_page() -> None:
    page = render([replace(PLAYED, missed="it hangs still"), PLAYED])
    assert "| A | how | 1.2 | hang | next | 2 | 0 | **missed** |" in page
    assert "| A | how | 1.2 | hang | next | 2 | 0 | completes |" in page


def test_rows_of_two_machines_are_two_tables() -> None:
    page = render([PLAYED, replace(PLAYED, machine="one GPU")])
    assert page.count("Measured on 2 cores:") == page.count("Measured on one GPU:") == 1


def test_a_row_takes_its_place_and_what_is_no_fault_any_more_goes() -> None:
    names = [replace(PLAYED, name=name) for name in ("c", "gone", "b")]
    new = replace(PLAYED, name="b", missed="why")
    assert merged(names, new, dict.fromkeys("abc")) == [new, names[0]]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    results, page = tmp_path / "results.json", tmp_path / "FAULTS.md"
    write_rows([PLAYED], results, page)
    assert read_rows(results) == [PLAYED]
    assert page.read_text() == render([PLAYED])


# ---------------------------------------------------------------------- the command


def test_an_unknown_fault_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["rank-sigkiled"]) == 2
    assert "unknown fault: rank-sigkiled" in capsys.readouterr().out


def test_the_list_names_every_fault_and_plays_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(FAULTS)


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_rows_that_need_a_slurm_are_named_where_there_can_be_none(
    ci: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line; on a CI machine, which must have one, that is a miss."""
    monkeypatch.setattr(run, "why_no_rig", lambda: "it needs root")
    monkeypatch.setenv("CI", ci)
    assert run.main(["slurm-requeue", "slurm-scancel"]) == status
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "skipped, they need a real Slurm (it needs root): slurm-scancel, slurm-requeue"


def test_those_that_need_a_slurm_can_be_played_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list", "--on-rig"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [name for name, fault in FAULTS.items() if fault.on_rig]
    assert "slurm-requeue" in names


def test_a_job_that_is_left_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "jobs_left", lambda self: ["jobs were left: 7"])
    assert played(harmless, tmp_path).missed == "jobs were left: 7"
