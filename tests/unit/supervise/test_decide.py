"""What follows an attempt's end: the table, and what holds whatever ends come after each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainrelay.records import STOPPED, Decision, EndClass
from trainrelay.supervise.decide import (
    FINISH,
    STOP_RESUMABLY,
    Leftovers,
    PastAttempt,
    Retry,
    Step,
    after_probe,
    next_step,
)

LADDER = ("nccl", "nccl-no-p2p", "gloo")
MOST = 3
ENDS: tuple[EndClass, ...] = get_args(EndClass)


def past(
    end: EndClass,
    rung: str = "nccl",
    *,
    steps: bool = True,
    new_checkpoint: bool = False,
    port_fixed: bool = False,
    brought: int = 2,
    left: Leftovers | None = None,
) -> PastAttempt:
    return PastAttempt(end, rung, steps, new_checkpoint, port_fixed, brought, left)


def after(*attempts: PastAttempt, ladder: Sequence[str] = LADDER, most: int = MOST) -> Step:
    return next_step(attempts, ladder, most)


def shape(step: Step) -> tuple[object, ...]:
    """A step without its wording."""
    if isinstance(step, Retry):
        return ("again", step.rung, "probe first" if step.probe_first else "at once")
    return (step.step,)


def final(step: Step | None) -> Decision:
    """A step that needs a decision."""
    assert isinstance(step, Decision)
    assert step.step == "final"
    return step


AT_ONCE = ("again", "nccl", "at once")
PROBE = ("again", "nccl", "probe first")
DOWN = ("again", "nccl-no-p2p", "probe first")
FIRST: dict[EndClass, tuple[object, ...]] = {
    "done": ("done",),
    "interrupted": ("stop",),
    "time-limit": ("stop",),
    "preempted": ("stop",),
    "diverged": ("final",),
    "oom-gpu": ("final",),
    "disk-full": ("final",),
    "not-resumed": ("final",),
    "oom-host": AT_ONCE,
    "port": AT_ONCE,
    "comm": PROBE,
    "hang": PROBE,
    "killed": AT_ONCE,
    "trainer-bug": AT_ONCE,
    "unfinished": AT_ONCE,
    "lost": AT_ONCE,
    "node": AT_ONCE,
}


@pytest.mark.parametrize("end", ENDS)
def test_first_end_of_each_class_has_its_row_in_the_table(end: EndClass) -> None:
    """Every class of end says what follows its first attempt, whether or not that brought a checkpoint."""
    for new_checkpoint in (False, True):
        assert shape(after(past(end, new_checkpoint=new_checkpoint))) == FIRST[end]


def test_host_memory_is_tried_once_more() -> None:
    """The second time is final, also with other ends between, unless there was a new checkpoint between."""
    short, killed = past("oom-host"), past("killed")
    final(after(short, short))
    final(after(short, killed, short, most=9))
    assert shape(after(short, past("oom-host", new_checkpoint=True))) == AT_ONCE
    assert shape(after(short, past("killed", new_checkpoint=True), short)) == AT_ONCE


def test_port_of_the_config_is_not_tried_again() -> None:
    """Another attempt would ask for the same port; the sentence names the key that frees it."""
    step = after(past("port", steps=False, port_fixed=True))
    step = final(step)
    assert "master_port: null" in step.what_to_do


@pytest.mark.parametrize("end", ["comm", "hang"])
def test_second_failure_of_communication_leaves_the_rung(end: EndClass) -> None:
    """Also where the rung's probe worked in between, and where the attempts brought checkpoints."""
    for new_checkpoint in (False, True):
        twice = [past(end, new_checkpoint=new_checkpoint)] * 2
        assert shape(after(*twice)) == DOWN
    assert shape(after(past(end), past("killed", new_checkpoint=True), past(end))) == DOWN


def test_failures_of_another_rung_or_kind_do_not_count() -> None:
    """One hang and one comm, or one comm on each of two rungs, are the first of their kind there."""
    assert shape(after(past("hang"), past("comm"))) == PROBE
    assert shape(after(past("comm"), past("hang"))) == PROBE
    assert shape(after(past("comm"), past("comm", "gloo"))) == ("again", "gloo", "probe first")


def test_last_rung_is_given_up_only_without_progress() -> None:
    """Below it is nothing, so only failures since the newest checkpoint count; then the end is final."""
    fell, saved = past("comm", "gloo"), past("comm", "gloo", new_checkpoint=True)
    again = ("again", "gloo", "probe first")
    assert shape(after(saved, saved, saved)) == again
    assert shape(after(saved, fell)) == again
    step = after(saved, fell, fell)
    step = final(step)
    assert "has no other after it" in step.reason
    assert "backends" in step.what_to_do


def test_probe_decides_between_the_rung_and_the_one_below() -> None:
    """A rung that works is used; one that fails gives way to the next, which is probed in turn."""
    step = after(past("comm"))
    assert isinstance(step, Retry)
    assert shape(after_probe(step, True, LADDER)) == AT_ONCE
    below = after_probe(step, False, LADDER)
    assert shape(below) == DOWN
    assert "the probe of nccl fails" in below.reason


def test_ladder_of_rungs_that_all_fail_their_probe_is_final() -> None:
    """Each is probed once, then a person is called, and told of every one."""
    step: Step = after(past("comm"))
    for rung in LADDER:
        assert isinstance(step, Retry)
        assert step.rung == rung
        step = after_probe(step, False, LADDER)
    step = final(step)
    assert all(f"the probe of {rung} fails" in step.reason for rung in LADDER)


def test_trainer_bug_before_the_first_step_is_a_mistake() -> None:
    """It would come again; once the trainer trained, or left a checkpoint, it may not."""
    final(after(past("trainer-bug", steps=False)))
    assert shape(after(past("trainer-bug", steps=False, new_checkpoint=True))) == AT_ONCE
    killed_early = after(past("killed", steps=False))
    assert shape(killed_early) == AT_ONCE


def test_exit_0_without_a_checkpoint_is_never_followed_by_another_attempt() -> None:
    """The trainer says that it finished: a repetition would train everything a second time."""
    files = (Path("a.pt"),)
    step = after(past("unfinished", left=Leftovers(False, "work_dir holds a.pt", files)))
    step = final(step)
    assert "work_dir holds a.pt" in step.reason
    assert "move these files away" in step.what_to_do
    empty = after(past("unfinished", left=Leftovers(False, "work_dir holds no file")))
    empty = final(empty)
    assert "move" not in empty.what_to_do
    known = final(after(past("unfinished", left=Leftovers(True, "work_dir holds a.pt", files, "set it"))))
    assert known.what_to_do == "set it"
    assert shape(after(past("unfinished"))) == AT_ONCE
    assert shape(after(past("killed", left=Leftovers(False, "nothing")))) == AT_ONCE


def test_a_trainer_that_stops_early_again_after_one_epoch_is_not_started_once_per_epoch() -> None:
    """Early stopping exits 0 after each restart; a trainer with its own time limit gets further each time."""
    early = past("unfinished", new_checkpoint=True, brought=1)
    assert shape(after(early)) == AT_ONCE
    final(after(early, early))
    assert shape(after(early, past("killed"), early)) == AT_ONCE
    assert shape(after(early, past("unfinished", new_checkpoint=True, brought=3))) == AT_ONCE


@pytest.mark.parametrize("end", ["killed", "hang", "comm", "oom-host", "lost", "port", "unfinished"])
def test_nothing_starts_from_scratch_beside_files_that_are_not_understood(end: EndClass) -> None:
    left = Leftovers(True, "work_dir holds weights.ckpt (keys: a, b)", (Path("weights.ckpt"),))
    step = after(past(end, left=left))
    step = final(step)
    assert "weights.ckpt" in step.reason
    assert "move these files away" in step.what_to_do


def test_attempts_without_a_new_checkpoint_are_counted_from_the_newest() -> None:
    """As many in a row as the limit says are final; one with a checkpoint begins the count anew."""
    barren, fruitful = past("killed"), past("killed", new_checkpoint=True)
    assert shape(after(barren, barren)) == AT_ONCE
    step = after(barren, barren, barren)
    step = final(step)
    assert "3 attempts in a row" in step.reason
    assert shape(after(barren, barren, fruitful, barren, barren)) == AT_ONCE
    final(after(barren, most=1))


# ---------------------------------------------------------------------- whatever comes

ladders = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True)
endings = st.tuples(st.sampled_from(ENDS), st.booleans(), st.booleans())  # end, steps, new checkpoint
probes = st.lists(st.booleans(), min_size=200, max_size=200)


def launch(
    ladder: Sequence[str], most: int, ends: Sequence[tuple[EndClass, bool, bool]], answers: Sequence[bool]
) -> tuple[list[PastAttempt], Step]:
    """A launch as a session makes it: its attempts, and the step at which it stopped or `ends` ran out."""
    attempts: list[PastAttempt] = []
    step: Step = Retry(ladder[0], False, "the first")
    answer = iter(answers)
    for end, steps, new_checkpoint in ends:
        probed = 0
        while isinstance(step, Retry) and step.probe_first:
            step, probed = after_probe(step, next(answer), ladder), probed + 1
        assert probed <= len(ladder), "a rung was probed twice in a row"
        if not isinstance(step, Retry):
            break
        attempts.append(past(end, step.rung, steps=steps, new_checkpoint=new_checkpoint))
        step = next_step(attempts, ladder, most)
    return attempts, step


@given(ladders, st.integers(1, 6), st.lists(endings, min_size=1, max_size=20), probes)
def test_a_launch_goes_down_the_ladder_only_and_never_past_it(
    ladder: list[str], most: int, ends: list[tuple[EndClass, bool, bool]], answers: list[bool]
) -> None:
    """Rungs are of the ladder and never climb back up."""
    attempts, _ = launch(ladder, most, ends, answers)
    places = [ladder.index(attempt.rung) for attempt in attempts]
    assert places == sorted(places)


@given(ladders, st.integers(1, 6), st.lists(endings, min_size=1, max_size=20), probes)
def test_a_launch_is_done_or_stopped_only_after_such_an_end(
    ladder: list[str], most: int, ends: list[tuple[EndClass, bool, bool]], answers: list[bool]
) -> None:
    """Each of these ends a launch: done after done alone, stop after a requested stop."""
    attempts, step = launch(ladder, most, ends, answers)
    *before, last = attempts
    assert (step == FINISH) == (last.end == "done")
    assert (step == STOP_RESUMABLY) == (last.end in STOPPED)
    assert not {attempt.end for attempt in before} & {"done", *STOPPED}


@given(ladders, st.integers(1, 6), st.lists(endings, min_size=40, max_size=40), probes)
def test_a_launch_ends_within_the_limit_of_attempts_per_checkpoint(
    ladder: list[str], most: int, ends: list[tuple[EndClass, bool, bool]], answers: list[bool]
) -> None:
    """Whatever ends come: at most `most` attempts in a row brought nothing, and then it is over."""
    attempts, step = launch(ladder, most, ends, answers)
    barren = 0
    for number, attempt in enumerate(attempts, start=1):
        barren = 0 if attempt.new_checkpoint else barren + 1
        assert barren <= most
        assert barren < most or number == len(attempts)
    if barren == most:
        assert not isinstance(step, Retry)


@given(ladders, st.integers(1, 6), st.lists(endings, min_size=1, max_size=20), probes)
def test_every_final_says_what_happened_where_to_look_and_what_to_type(
    ladder: list[str], most: int, ends: list[tuple[EndClass, bool, bool]], answers: list[bool]
) -> None:
    """A person is never called without a reason, a place and a next word."""
    _, step = launch(ladder, most, ends, answers)
    if isinstance(step, Decision) and step.step == "final":
        assert step.reason
        assert re.search(r"check|ask for|set ", step.what_to_do)


def test_a_resume_that_fails_at_its_start_names_the_checkpoint_that_may_not_be_whole() -> None:
    """A folder that was killed within its save may lack what only its trainer knows."""
    began = past("trainer-bug", steps=False)
    assert "whole" not in str(final(after(began)).what_to_do)
    failed = final(after(replace(began, resumed_from="/w/epoch_0")))
    assert failed.what_to_do
    assert "if it is that the checkpoint is not whole, move it away: /w/epoch_0" in failed.what_to_do
