"""What the ranks left behind, read and judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainrelay.supervise.probe.results import MARK, RankProgress, is_over, judge, rank_progress, where

# Two ranks on one GPU, as torch 2.x and torch 1.12 tell it.
DUPLICATE_NEW = """DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:2006,\
 invalid usage (run with NCCL_DEBUG=WARN for details), NCCL version 2.20.5
ncclInvalidUsage: This usually reflects invalid usage of NCCL library.
Last error:
Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 4000"""
DUPLICATE_OLD = """RuntimeError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1191, \
invalid usage, NCCL version 2.10.3
ncclInvalidUsage: This usually reflects invalid usage of NCCL library (such as too many async ops, too many \
collectives at once, mixing streams in a group, etc)."""
WARNED_OLD = [
    "NCCL version 2.10.3+cuda11.3",
    "",
    "gpu01:4242:4290 [0] init.cc:521 NCCL WARN Duplicate GPU detected : rank 0 and rank 1 both on CUDA device"
    " 4000",
]


def rank(number: int, *lines: dict[str, Any]) -> RankProgress:
    log = (MARK + json.dumps({"rank": number, **line}) for line in lines)
    return rank_progress(log, number + 1)[number]


def done(number: int, **speeds: float) -> RankProgress:
    said = {size.removeprefix("mb"): speed for size, speed in speeds.items()}
    return rank(number, {"phase": "import torch"}, {"phase": "done", "gb_per_s": said})


def failed(number: int, error: str, at_s: float = 1.0) -> RankProgress:
    return rank(number, {"phase": "all_reduce 25 MB", "error": error, "at_s": at_s})


def test_a_rung_works_once_every_rank_is_done_and_is_as_fast_as_its_slowest_rank() -> None:
    verdict = judge([done(0, mb25=3.0, mb256=9.0), done(1, mb25=4.0, mb256=8.0)], [], None, 1.0)
    assert (verdict.outcome, verdict.error) == ("works", None)
    assert verdict.gb_per_s == {25: 3.0, 256: 8.0}


def test_what_a_rank_says_after_it_is_done_changes_nothing() -> None:
    """Parting may fail once another rank has been ended."""
    seen = rank(
        0, {"phase": "done", "gb_per_s": {}}, {"phase": "barrier", "error": "lost rank 1", "at_s": 2.0}
    )
    assert seen.done


def test_a_probe_is_over_with_the_first_error_or_the_last_rank() -> None:
    assert not is_over([done(0), rank(1)])
    assert is_over([done(0), done(1)])
    assert is_over([rank(0), failed(1, "x")])


def test_the_earliest_error_counts_because_the_others_follow_from_it() -> None:
    ranks = [failed(0, "RuntimeError: Connection closed by peer", 2.0), failed(1, "ValueError: mine", 1.0)]
    assert judge(ranks, [], None, 1.0).error == "ValueError: mine"


@pytest.mark.parametrize(("error", "lines"), [(DUPLICATE_NEW, []), (DUPLICATE_OLD, WARNED_OLD)])
def test_two_ranks_on_one_gpu_are_told_in_ncclls_own_words(error: str, lines: list[str]) -> None:
    said = judge([failed(0, error), rank(1)], lines, 1, 1.0).error or ""
    assert said.startswith("Duplicate GPU detected : rank ")
    assert said.endswith("both on CUDA device 4000")


def test_nccls_class_of_error_is_said_where_it_gives_no_reason() -> None:
    said = judge([failed(0, DUPLICATE_OLD), rank(1)], [], 1, 1.0).error or ""
    assert said.startswith("ncclInvalidUsage: This usually reflects")


def test_a_hang_names_the_last_phase_of_every_rank() -> None:
    ranks = [rank(n, {"phase": "all_reduce 25 MB"}) for n in (0, 1, 2, 5)]
    ranks += [rank(3, {"phase": "init_process_group"}), rank(4)]
    verdict = judge(ranks, [], None, 120.0)
    assert verdict.outcome == "hangs"
    assert verdict.error == (
        "no end after 120 s: ranks 0-2, 5 in all_reduce 25 MB, rank 3 in init_process_group, rank 4 not"
        " started"
    )


def test_a_rank_that_crashed_is_named_with_its_signal() -> None:
    lines = ["failed (exitcode: -11) local_rank: 1 (pid: 99)"]
    verdict = judge([rank(0, {"phase": "init_process_group"}), rank(1, {"phase": "device"})], lines, 1, 1.0)
    assert verdict.outcome == "fails"
    assert verdict.error == "rank 1 ended by SIGSEGV: rank 0 in init_process_group, rank 1 in device"


def test_a_rank_that_aborted_for_having_lost_one_that_crashed_is_not_named() -> None:
    lines = ["failed (exitcode: -6) local_rank: 0 (pid: 98)", "  rank      : 1 (local_rank: 1)"]
    lines.append("  exitcode  : -11 (pid: 99)  (SIGSEGV)")
    said = judge([failed(0, "RuntimeError: Connection closed by peer"), rank(1)], lines, 1, 1.0).error or ""
    assert said.startswith("rank 1 ended by SIGSEGV: ")


def test_a_rank_that_nccl_aborted_is_quoted_with_what_it_said() -> None:
    lines = ["failed (exitcode: -6) local_rank: 0 (pid: 99)"]
    assert (
        judge([failed(0, "RuntimeError: no route"), rank(1)], lines, 1, 1.0).error == "RuntimeError: no route"
    )


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["/usr/bin/python: No module named torch", ""], "exited with status 1: /usr/bin/python: No module"),
        ([], "the launcher exited with status 1: the launcher printed nothing"),
        (
            [
                "Traceback (most recent call last):",
                '  File "x"',
                "ImportError: libcudart.so.11: no such file",
            ],
            "ImportError: libcudart.so.11: no such file",
        ),
    ],
)
def test_a_launcher_that_never_came_to_its_ranks_is_quoted(lines: list[str], wanted: str) -> None:
    assert wanted in (judge([rank(0), rank(1)], lines, 1, 1.0).error or "")


@pytest.mark.parametrize(
    "text",
    [
        '{"rank": 0, "phase": "all_re',
        "[1, 2]\nnull\n3",
        "[" * 100_000,
        '{"rank": 0, "phase": 3}',
        '{"rank": -1, "phase": "x", "error": "x"}',
        '{"rank": 1, "phase": "x", "error": "x"}',
        '{"rank": 0, "phase": "done", "gb_per_s": {"x": 1.0}}',
        '{"rank": 0, "phase": "done", "gb_per_s": {"25": NaN}}',
        '{"rank": 0, "phase": "done", "error": 3}',
        '{"rank": 0, "error": "x"}',
    ],
)
def test_a_broken_line_of_a_rank_is_no_error_of_ours(text: str) -> None:
    [seen] = rank_progress([MARK + text], 1)
    assert seen.error is None
    assert seen.gb_per_s == {}


def test_what_reaches_a_terminal_is_one_printable_line() -> None:
    seen = failed(0, "Error: \x1b[31mred\nsecond line" + "x" * 1000)
    said = judge([seen], [], 1, 1.0).error or ""
    assert said == "Error: red"
    assert "\x1b" not in where([rank(0, {"phase": "\x1b[2J"})])
