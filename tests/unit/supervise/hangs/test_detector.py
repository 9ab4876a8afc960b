"""When a trainer counts as hung: a rule of times, and what must hold for all of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainrelay.supervise.hangs import HangDetector
from trainrelay.supervise.hangs.detector import (
    EPOCH_END_FACTOR,
    MOST_PER_CALL_S,
    OUTPUT_FACTOR,
    PACE_FACTOR,
    PACE_FLOOR_S,
    QUIET_FLOOR_S,
    WAITS,
)
from trainrelay.trainers import StepSeen

TICK_S = 4.0


def step(iteration: int, epoch: int = 1, of: int | None = 1000) -> StepSeen:
    return StepSeen(epoch, iteration, of, loss=1.0, eta_s=None)


class Course:
    """A watchdog and the time; `wait` lets time pass as the supervisor's loop would."""

    def __init__(self, fixed_s: float | None = None, tick_s: float = TICK_S) -> None:
        self.dog, self.now_s, self.tick_s = HangDetector(fixed_s), 1e6, tick_s
        self.dog.tick(self.now_s)

    def wait(self, seconds: float, *, talking: bool = False) -> str | None:
        """The first hang while this time passes."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s = min(until_s, self.now_s + self.tick_s)
            self.dog.tick(self.now_s)
            if talking:
                self.dog.said(self.now_s)
            if hang := self.dog.hung(self.now_s):
                return hang
        return None

    def step(self, iteration: int, epoch: int = 1, of: int | None = 1000) -> None:
        self.dog.stepped(self.now_s, step(iteration, epoch, of))

    def paced(self, wait_s: float, lines: int = 4, epoch: int = 1) -> Course:
        """Some lines of an epoch, 10 iterations and `wait_s` apart."""
        for line in range(1, lines + 1):
            assert self.wait(wait_s) is None
            self.step(line * 10, epoch)
        return self

    def silence_s(self, *, talking: bool = False) -> float:
        """How long nothing comes until it is called a hang; the time that the trainer is given."""
        began_s = self.now_s
        assert self.wait(1e5, talking=talking), "never called a hang"
        return self.now_s - began_s


def about(seconds: float) -> object:
    return pytest.approx(seconds, abs=2 * TICK_S + 1)


def test_a_training_by_iterations_may_evaluate_after_any_of_them() -> None:
    """Its whole training is one epoch, whose end would be the only evaluation."""
    course = Course()
    for at in (10, 20, 30, 40):
        course.wait(23)
        course.dog.stepped(course.now_s, StepSeen(1, at, 1000, 1.0, None, by_iteration=True))
    assert course.silence_s() == about(QUIET_FLOOR_S)
    said = course.dog.hung(course.now_s)
    assert said == "no progress for 30 min since iteration 40; where it may evaluate 30 min are allowed"


# ---------------------------------------------------------------------- what always holds


@st.composite
def trainings(draw: st.DrawFn) -> list[list[float]]:
    """Waits before each line, a list per epoch: the first one is start-up, or the end of the epoch before."""
    pace_s = draw(st.floats(0.01, 350))
    jitter = st.floats(1.0, PACE_FACTOR - 0.5)
    epochs = draw(st.lists(st.lists(jitter, min_size=0, max_size=30), min_size=1, max_size=4))
    return [
        [draw(st.floats(0.0, QUIET_FLOOR_S - 2 * TICK_S)), *(pace_s * factor for factor in epoch)]
        for epoch in epochs
    ]


def trained(course: Course, training: list[list[float]]) -> str | None:
    for epoch, waits_s in enumerate(training, start=1):
        for number, wait_s in enumerate(waits_s, start=1):
            if hang := course.wait(wait_s):
                return hang
            course.step(number * 10, epoch, of=len(waits_s) * 10 + 7)
    return None


@settings(max_examples=60, deadline=None)
@given(trainings())
def test_progress_at_the_measured_pace_is_never_a_hang(training: list[list[float]]) -> None:
    """Waits of less than 5 times the shortest, start-up and epoch ends of less than 30 min."""
    assert trained(Course(), training) is None


@settings(max_examples=60, deadline=None)
@given(trainings(), st.booleans())
def test_what_stops_for_good_is_called_a_hang_within_the_stated_bound(
    training: list[list[float]], talking: bool
) -> None:
    """After the allowed time in silence, after 4 times of it whatever is printed; never before 10 min."""
    course = Course()
    trained(course, training)
    longest_s = max((wait_s for epoch in training for wait_s in epoch[1:]), default=0.0)
    longest_end_s = max((epoch[0] for epoch in training[1:]), default=0.0)
    bound_s = max(QUIET_FLOOR_S, PACE_FACTOR * (longest_s + 1), EPOCH_END_FACTOR * (longest_end_s + 1))
    factor = OUTPUT_FACTOR if talking else 1.0
    silence_s = course.silence_s(talking=talking)
    assert PACE_FLOOR_S <= silence_s <= factor * (bound_s + 2 * PACE_FACTOR * TICK_S)


def lines_read(
    course: Course, pace_s: float, absences: list[tuple[float, float]], *, trainer_too: bool
) -> str | None:
    """A trainer at one pace whose supervisor is away now and then: (after so long, for so long)."""
    present_s = held_s = 0.0
    lines, left = 0, sorted(absences)
    began_s = course.now_s
    while present_s < 15 * pace_s:
        present_s += TICK_S
        course.now_s += TICK_S
        while left and present_s >= left[0][0]:
            _, length_s = left.pop(0)
            course.now_s += length_s  # without a call
            held_s += length_s if trainer_too else 0.0
        while (course.now_s - began_s - held_s) / pace_s >= lines + 1:
            lines += 1
            course.step(lines * 10, of=1_000_000)
        if hang := course.dog.hung(course.now_s):
            return hang
    return None


@settings(max_examples=60, deadline=None)
@given(
    st.floats(20, 1000),
    st.lists(st.tuples(st.floats(0, 10_000), st.floats(0, 30_000)), max_size=5),
    st.booleans(),
)
def test_an_absent_supervisor_never_causes_a_hang(
    pace_s: float, absences: list[tuple[float, float]], trainer_too: bool
) -> None:
    """Whenever and for however long it was suspended, with the trainer or without it."""
    assert lines_read(Course(), pace_s, absences, trainer_too=trainer_too) is None


@given(st.floats(1, 1e4), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_fixed_limit_is_the_limit(fixed_s: float, talking: bool) -> None:
    """At start-up as in the midst of an epoch, whatever is printed."""
    for course in (Course(fixed_s), Course(fixed_s).paced(min(20.0, fixed_s / 2))):
        assert fixed_s <= course.silence_s(talking=talking) <= fixed_s + 2 * TICK_S


# ---------------------------------------------------------------------- the rule, case by case


def test_in_the_midst_of_an_epoch_five_times_the_pace_is_allowed() -> None:
    """Of the longest of the last waits, and no less than 10 min."""
    assert Course().paced(20).silence_s() == about(600)
    assert Course().paced(300).silence_s() == about(1500)


def test_a_faster_pace_is_followed() -> None:
    """A long wait counts for the next 20 lines only."""
    course = Course().paced(400)
    for line in range(5, 5 + WAITS):
        course.wait(10)
        course.step(line * 10)
    assert course.silence_s() == about(600)


def test_start_up_is_given_half_an_hour() -> None:
    """Before the first line, and before the second one, which gives the first pace."""
    assert Course().silence_s() == about(1800)
    assert Course().paced(20, lines=1).silence_s() == about(1800)


def test_the_end_of_an_epoch_is_given_half_an_hour() -> None:
    """Where the next line would lie in the next epoch; where the epoch's length is unknown, always."""
    course = Course()
    for iteration in (970, 980, 990):
        course.wait(20)
        course.step(iteration, of=995)
    assert course.silence_s() == about(1800)
    unknown = Course()
    for iteration in (10, 20, 30):
        unknown.wait(20)
        unknown.step(iteration, of=None)
    assert unknown.silence_s() == about(1800)


def test_the_last_line_but_one_of_an_epoch_is_in_its_midst() -> None:
    """An epoch whose length the log interval divides ends with a line."""
    course = Course()
    for iteration in (970, 980, 990):
        course.wait(20)
        course.step(iteration, of=1000)
    assert course.silence_s() == about(600)


def test_long_ends_of_epochs_are_learned() -> None:
    """Twice the longest one is allowed at the next; short ones shorten nothing."""
    course = Course().paced(20)
    for epoch, end_s in ((2, 1500), (3, 10)):
        course.step(1000, epoch - 1)
        course.wait(end_s)
        course.step(10, epoch)
        course.wait(20)
        course.step(20, epoch)
    course.step(1000, 3)
    assert course.silence_s() == about(3000)


def test_output_is_a_sign_of_life_up_to_a_bound() -> None:
    """A progress bar of an evaluation keeps the trainer alive, for 4 times the allowed time."""
    course = Course().paced(20)
    course.step(1000)
    assert course.wait(7000, talking=True) is None
    assert course.wait(300, talking=True) is not None


def test_silence_after_output_is_counted_from_the_output() -> None:
    """What evaluated for an hour and then says nothing is given the allowed time once more."""
    course = Course().paced(20)
    course.step(1000)
    assert course.wait(3600, talking=True) is None
    assert course.silence_s() == about(1800)


def test_a_line_that_was_there_before_is_no_progress() -> None:
    """The copies of other ranks, or one line over and over, are other output."""
    course = Course().paced(20, lines=10)
    hang = None
    for _ in range(1000):
        hang = hang or course.wait(10)
        course.step(100)
    assert hang is not None
    assert hang.startswith(f"no progress for {OUTPUT_FACTOR * 10:.0f} min since")


def test_a_trainer_that_prints_often_is_not_hurried() -> None:
    """Lines milliseconds apart leave the floor of 10 min."""
    course = Course(tick_s=0.05)
    for iteration in range(1, 200):
        course.wait(0.05)
        course.step(iteration)
    course.tick_s = TICK_S
    assert course.silence_s() == about(600)


def test_old_lines_read_at_once_measure_nothing() -> None:
    """A supervisor that takes a trainer over reads its whole log first; that is not its pace."""
    course = Course()
    for iteration in range(10, 500, 10):
        course.step(iteration)
    assert course.wait(400) is None
    course.step(500)
    assert course.silence_s() == about(1800)


def test_a_wait_with_an_absent_supervisor_measures_nothing() -> None:
    """It was away while a slow trainer went on; the line that comes soon after its return is no pace."""
    course = Course()
    course.wait(20)
    course.step(10)
    course.now_s += 890
    course.wait(8)
    course.step(20)
    assert course.wait(900) is None
    course.step(30)
    assert course.silence_s() == about(5 * 900)


def test_a_clock_that_is_called_seldom_still_ends() -> None:
    """Calls further apart than 5 s count as 5 s each, so a hang is found after more of them."""
    course = Course().paced(20)
    course.tick_s = 60.0
    calls = course.silence_s() / 60
    assert calls == pytest.approx(600 / MOST_PER_CALL_S, abs=2)


@pytest.mark.parametrize(
    ("fixed_s", "prepare", "talking", "sentence"),
    [
        (
            None,
            lambda course: course.paced(23),
            False,
            "no progress for 10 min since epoch 1, iteration 40; progress came every 23 s or sooner, so"
            " 10 min are allowed",
        ),
        (
            None,
            lambda course: course,
            False,
            "no progress for 30 min since the start; until its pace is known 30 min are allowed",
        ),
        (
            None,
            lambda course: course.paced(20).step(1000),
            True,
            "no progress for 2 h since epoch 1, iteration 1000; around the end of an epoch 30 min are"
            " allowed, and 2 h if it keeps printing",
        ),
        (
            90.0,
            lambda course: course.paced(20),
            True,
            "no progress for 92 s since epoch 1, iteration 40; hang_timeout_s allows 90 s",
        ),
    ],
)
def test_the_sentence_says_how_long_what_is_allowed_and_why(
    fixed_s: float | None, prepare: object, talking: bool, sentence: str
) -> None:
    """How long, since which iteration, the limit and what it follows from."""
    course = Course(fixed_s)
    assert callable(prepare)
    prepare(course)
    hang = course.wait(1e5, talking=talking)
    assert hang is not None
    assert hang == sentence


# ---------------------------------------------------------------------- steps that the ranks count


def worked(course: Course, minutes: int, *, talking: bool = False) -> str | None:
    """The first hang while steps are counted each minute, and no line is understood."""
    for minute in range(1, minutes + 1):
        if hang := course.wait(60, talking=talking):
            return hang
        course.dog.worked(course.now_s, minute * 100)
    return None


def test_steps_are_progress_though_nothing_is_printed() -> None:
    """Where no line was ever understood, and where lines were and stopped."""
    assert worked(Course(), 300) is None
    assert worked(Course().paced(20), 300) is None
    assert worked(Course(fixed_s=90.0), 300) is None


def test_a_stop_of_steps_is_a_hang_with_the_time_of_an_evaluation() -> None:
    """Also where the trainer keeps printing lines that nobody understands."""
    silent, talking = Course(), Course()
    worked(silent, 5)
    worked(talking, 5)
    said = silent.wait(1900) or ""
    assert said.startswith(
        "no progress for 30 min since step 500; where only steps are known 30 min are allowed"
    )
    assert talking.silence_s(talking=True) == about(OUTPUT_FACTOR * QUIET_FLOOR_S)


def test_steps_leave_the_time_in_the_midst_of_an_epoch() -> None:
    """It begins with the last step instead of the last line."""
    course = Course().paced(20)
    course.wait(300)
    course.dog.worked(course.now_s, 45)
    assert course.silence_s() == about(600)


def test_batches_before_the_first_step_are_other_output() -> None:
    """Then nothing is known of the steps, and output restarts the time without a bound."""
    course = Course()
    course.dog.worked(course.now_s, 0)
    assert course.wait(5 * 3600, talking=True) is None
