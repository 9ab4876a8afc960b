"""How a trainer counts epochs, learned from event sequences of which the truth is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.attempts import an_attempt
from trainrelay.checkpoint import Glance
from trainrelay.records import AttemptRecord, EpochBases, ResumePoint
from trainrelay.supervise.attempt_end import with_bases
from trainrelay.supervise.epoch_counting import EpochCounting
from trainrelay.trainers import StepSeen

Base = Literal[0, 1]
CONVENTIONS: list[tuple[Base, Base]] = [(0, 0), (0, 1), (1, 0), (1, 1)]
EPOCHS = 4


NOTHING = EpochBases()


def begun(bases: EpochBases = NOTHING, resumed: int | None = None) -> AttemptRecord:
    point = None if resumed is None else ResumePoint(path="/w/c.pth", epoch=resumed)
    return an_attempt(1, epochs=EPOCHS, epoch_bases=bases, resumed_from=point)


@dataclass
class Trainer:
    """A trainer as its supervisor sees it: `printed` is what it calls its first epoch, `saved` its base."""

    printed: Base
    saved: Base
    every: int = 1
    overwrites: bool = False
    files: dict[Path, Glance] = field(default_factory=dict)
    writes: int = 0

    def line(self, epoch: int) -> StepSeen:
        """What the kind makes of a line: it takes the trainer to count from 0."""
        return StepSeen(epoch - 1 + self.printed + 1, 10, 10, 1.0, None)

    def save(self, epoch: int) -> None:
        self.writes += 1
        name = "checkpoint.pth" if self.overwrites else f"c{epoch}.pth"
        number = epoch - self.saved
        self.files = {**self.files, Path(name): Glance((1, 1, self.writes), number)}


def events(start: int, until: int, every: int) -> Iterator[tuple[str, int]]:
    for epoch in range(start, until + 1):
        yield "line", epoch
        yield "line", epoch
        if epoch % every == 0:
            yield "save", epoch
        yield "evaluation", epoch


def play(
    trainer: Trainer, counting: EpochCounting, happened: list[tuple[str, int]], moments: Iterable[int]
) -> None:
    """Lets it happen. After the events of these numbers the supervisor reads and looks at files, in turn."""
    unread: list[StepSeen] = []
    waiting, reads = sorted(moments), True
    counting.look(dict(trainer.files))
    for number, (what, epoch) in enumerate(happened):
        if what == "line":
            unread.append(trainer.line(epoch))
        elif what == "save":
            trainer.save(epoch)
        while waiting and waiting[0] == number:
            waiting.pop(0)
            _read(counting, unread) if reads else counting.look(dict(trainer.files))
            reads = not reads
    _read(counting, unread)


def _read(counting: EpochCounting, unread: list[StepSeen]) -> None:
    for seen in unread:
        counting.step(seen)
    unread.clear()


def at(*numbers: int) -> list[int]:
    """Moments at which both are done, nothing happening in between."""
    return [number for number in numbers for _ in range(2)]


MOMENTS = st.lists(st.integers(0, 4 * EPOCHS + 2), max_size=30)


@pytest.mark.parametrize(("printed", "saved"), CONVENTIONS)
@pytest.mark.parametrize("overwrites", [False, True])
def test_a_save_within_an_epoch_shows_how_a_trainer_counts(
    printed: Base, saved: Base, overwrites: bool
) -> None:
    trainer, counting = Trainer(printed, saved, overwrites=overwrites), EpochCounting(begun(), learns=True)
    play(trainer, counting, list(events(1, 1, 1)), at(0, 1, 2, 3))
    assert counting.bases.printed == printed
    counting.look(dict(trainer.files))
    assert counting.bases == EpochBases(printed=printed, saved=saved)
    assert counting.doubt is None


@given(
    st.sampled_from(CONVENTIONS),
    st.booleans(),
    st.integers(1, 3),
    st.integers(0, 4 * EPOCHS + 2),
    MOMENTS,
    st.booleans(),
)
def test_whatever_is_seen_and_wherever_it_is_killed_nothing_wrong_is_learned(
    convention: tuple[Base, Base], overwrites: bool, every: int, killed: int, looks: list[int], well: bool
) -> None:
    """Looks at any moments; killed after any event, or ended with status 0: the truth, or nothing."""
    trainer = Trainer(*convention, every=every, overwrites=overwrites)
    counting, whole = EpochCounting(begun(), learns=True), list(events(1, EPOCHS, every))
    happened = whole if well else whole[:killed]
    play(trainer, counting, happened, looks)
    counting.finish(dict(trainer.files), EPOCHS if well else None)
    assert counting.bases.saved in (None, trainer.saved)
    assert counting.bases.printed in (None, trainer.printed)


@given(st.sampled_from(CONVENTIONS), st.integers(1, EPOCHS - 1), MOMENTS, st.booleans())
def test_the_first_epoch_after_a_resume_tells_for_certain(
    convention: tuple[Base, Base], finished: int, looks: list[int], well: bool
) -> None:
    trainer = Trainer(*convention)
    for epoch in range(1, finished + 1):
        trainer.save(epoch)
    known = EpochBases(printed=trainer.printed)
    counting = EpochCounting(begun(known, finished - trainer.saved), learns=True)
    play(trainer, counting, list(events(finished + 1, EPOCHS, 1)), looks)
    counting.finish(dict(trainer.files), EPOCHS if well else None)
    assert counting.bases == EpochBases(printed=trainer.printed, saved=trainer.saved)
    assert counting.doubt is None


def test_a_save_next_to_the_next_epochs_first_line_votes_for_nothing() -> None:
    """It may have been saved after either of the two."""
    trainer, counting = Trainer(0, 0, overwrites=True), EpochCounting(begun(), learns=True)
    happened = [("line", 1), ("save", 1), ("line", 2), ("line", 2)]
    play(trainer, counting, happened, at(0, 2, 3))
    counting.look(dict(trainer.files))
    assert counting.bases.saved is None
    assert "set epoch_base in config.yaml" in (counting.doubt or "")


def test_a_last_epoch_that_was_not_saved_is_not_taken_for_one_that_was() -> None:
    """Every second of five epochs is saved as counted: the newest, 4, is not the fifth though it exited 0."""
    trainer, counting = Trainer(0, 0), EpochCounting(begun(), learns=True)
    play(trainer, counting, list(events(1, 5, 2)), ())
    counting.finish(dict(trainer.files), 5)
    assert counting.bases.saved is None
    assert counting.doubt is not None


@pytest.mark.parametrize("saved", [0, 1])
def test_a_training_that_nobody_looked_at_in_time_tells_by_its_end(saved: Base) -> None:
    trainer, counting = Trainer(0, saved), EpochCounting(begun(), learns=True)
    play(trainer, counting, list(events(1, 3, 1)), ())
    counting.finish(dict(trainer.files), 3)
    assert counting.bases.saved == saved


def test_a_resume_that_has_nothing_left_to_train_tells_that_all_was_finished() -> None:
    trainer = Trainer(0, 1, overwrites=True)
    trainer.save(3)
    counting = EpochCounting(begun(EpochBases(printed=0), 2), learns=True)
    play(trainer, counting, [], ())
    counting.finish(dict(trainer.files), 3)
    assert counting.bases.saved == 1


def test_a_resume_that_failed_tells_nothing() -> None:
    trainer = Trainer(0, 0)
    trainer.save(2)
    counting = EpochCounting(begun(EpochBases(printed=0), 2), learns=True)
    play(trainer, counting, [], ())
    counting.finish(dict(trainer.files), None)
    assert counting.bases.saved is None


def test_where_files_contradict_each_other_the_lower_count_is_taken_and_it_is_said() -> None:
    """A checkpoint in the midst of an epoch, say, and one at its end."""
    trainer, counting = Trainer(0, 1), EpochCounting(begun(), learns=True)
    play(trainer, counting, [("line", 1), ("save", 1), ("evaluation", 1), ("evaluation", 1)], at(0, 1, 2, 3))
    assert counting.bases.saved == 1
    trainer.saved = 0
    play(trainer, counting, [("line", 2), ("save", 2), ("evaluation", 2), ("evaluation", 2)], at(0, 1, 2, 3))
    assert counting.bases.saved == 0
    assert "the lower count is used" in (counting.doubt or "")


def test_nothing_is_doubted_of_files_of_which_no_count_is_read() -> None:
    """They are cut short, or not understood: how they count is not the question."""
    counting = EpochCounting(begun(), learns=True)
    counting.look({Path("a.pt"): Glance((1, 1, 1), problem="is cut short", broken=True)})
    assert counting.doubt is None


def test_a_file_of_an_earlier_attempt_votes_for_nothing() -> None:
    """Resumed from an older checkpoint, it trains epochs again that later files have finished."""
    trainer = Trainer(0, 1)
    for epoch in (1, 2, 3):
        trainer.save(epoch)
    counting = EpochCounting(begun(EpochBases(printed=0, saved=1), 1), learns=True)
    play(trainer, counting, [("line", 2), ("line", 2), ("line", 2)], at(0, 1, 2))
    assert counting.bases.saved == 1
    assert counting.doubt is None


def test_a_file_that_is_written_slowly_belongs_to_the_epoch_in_which_that_began() -> None:
    """It was saved by a thread beside the next epoch."""
    counting, path = EpochCounting(begun(), learns=True), Path("c.pth")
    counting.look({})
    for epoch, glance in [
        (1, None),
        (1, Glance((1, 1, 1))),
        (2, Glance((1, 2, 2))),
        (2, Glance((1, 3, 3), 1)),
    ]:
        counting.step(StepSeen(epoch, 10, 10, 1.0, None))
        counting.look({path: glance} if glance else {})
    counting.look({path: Glance((1, 3, 3), 1)})
    assert counting.bases.saved is None


@pytest.mark.parametrize("epoch_base", [0, 1])
def test_what_the_config_says_is_not_learned_otherwise(epoch_base: Base) -> None:
    trainer, counting = Trainer(1, 0), EpochCounting(begun(EpochBases(saved=epoch_base)), learns=False)
    play(trainer, counting, list(events(1, 3, 1)), at(*range(12)))
    counting.finish(dict(trainer.files), 3)
    assert counting.bases == EpochBases(printed=1, saved=epoch_base)


def test_lines_are_counted_from_1_whatever_they_say() -> None:
    for printed in (0, 1):
        counting = EpochCounting(begun(), learns=True)
        assert [counting.step(Trainer(printed, 0).line(epoch)).epoch for epoch in (1, 2)] == [1, 2]


def test_an_attempt_that_begins_with_another_epoch_does_not_tell_the_first_number() -> None:
    counting = EpochCounting(begun(), learns=True)
    counting.step(StepSeen(6, 10, 10, 1.0, None))
    assert counting.bases.printed is None


@pytest.mark.parametrize(("printed", "saved"), CONVENTIONS)
def test_a_stage_that_counts_on_from_another_one_tells_the_first_number_at_its_end(
    printed: Base, saved: Base
) -> None:
    """It starts with --resume FILE of the earlier stage, as one of ImageNet's main.py must."""
    trainer, counting = Trainer(printed, saved, overwrites=True), EpochCounting(begun(), learns=True)
    play(trainer, counting, list(events(3, EPOCHS, 1)), at(1, 3, 5))
    assert counting.bases.printed is None
    counting.finish(dict(trainer.files), EPOCHS)
    assert counting.bases.printed == printed


def test_a_stage_that_counts_on_from_the_first_epoch_of_another_is_told_from_one_that_counts_from_1() -> None:
    """Its first line is of epoch 1, from 0; its last file holds more epochs than a count from 1 has."""
    trainer, counting = Trainer(0, 0, overwrites=True), EpochCounting(begun(), learns=True)
    play(trainer, counting, list(events(2, EPOCHS, 1)), at(1, 3, 5))
    counting.finish(dict(trainer.files), EPOCHS)
    assert counting.bases == EpochBases(printed=0, saved=0)
    assert counting.doubt is None


def test_an_end_of_which_no_line_tells_does_not_turn_the_count() -> None:
    """It counts from 1, and prints too rarely for a line of its last epoch."""
    counting = EpochCounting(begun(), learns=True)
    for epoch, iteration in ((1, 7), (2, 4), (3, 1)):
        counting.step(StepSeen(epoch + 1, iteration, 10, 1.0, None))
    counting.finish({Path("c.pth"): Glance((1, 1, 1), EPOCHS)}, EPOCHS)
    assert counting.bases.printed == 1


@pytest.mark.parametrize("before", [begun(), begun(EpochBases(printed=0, saved=1), 2)])
def test_a_line_of_epoch_0_before_the_first_one_is_seen_by_the_last_file(before: AttemptRecord) -> None:
    """As of a script that first tells the loss of what it starts from."""
    trainer, counting = Trainer(1, 0), EpochCounting(before, learns=True)
    if not before.resumed_from:
        counting.step(trainer.line(0))
    play(trainer, counting, list(events(2 if before.resumed_from else 1, EPOCHS, 1)), at(1, 5, 9, 13))
    counting.finish(dict(trainer.files), EPOCHS)
    assert counting.bases == EpochBases(printed=1, saved=0)


@pytest.mark.parametrize(("printed", "saved"), [(1, 0), (0, 1)])
def test_the_last_but_one_is_not_the_last_where_it_was_killed_in_the_last_epoch(
    printed: Base, saved: Base
) -> None:
    """A line of epoch 0 came first; of one that counts from 0 the file of its first epoch says so."""
    trainer = Trainer(printed, saved)
    trainer.save(1)
    counting = EpochCounting(begun(EpochBases(printed=0, saved=1), 2), learns=True)
    play(trainer, counting, [*events(2, EPOCHS - printed, 1), ("line", EPOCHS + saved)], at(*range(14)))
    counting.finish(dict(trainer.files), None)
    assert counting.bases == EpochBases(printed=printed, saved=saved)


@pytest.mark.parametrize("saved", [0, 1])
def test_a_line_behind_the_last_epoch_is_none_of_them(saved: Base) -> None:
    trainer, counting = Trainer(0, saved), EpochCounting(begun(), learns=True)
    play(trainer, counting, [*events(1, EPOCHS, 1), ("line", EPOCHS + 1)], at(*range(17)))
    counting.finish(dict(trainer.files), EPOCHS)
    assert counting.bases.printed == 0


def test_a_record_counts_its_resume_point_as_its_checkpoints() -> None:
    now: Any = with_bases(begun(EpochBases(printed=0), 2), EpochBases(printed=0, saved=1))
    assert (now.resumed_from.epoch, now.epoch_bases.saved) == (3, 1)
    assert with_bases(now, EpochBases(printed=0, saved=0)).resumed_from.epoch == 2


def test_a_record_without_a_word_of_it_counts_as_detr_does() -> None:
    old = an_attempt(1).model_dump(exclude={"epoch_bases"})
    assert AttemptRecord.model_validate(old).epoch_bases == EpochBases(printed=0, saved=1)


def test_a_save_in_the_midst_of_an_epoch_votes_for_nothing() -> None:
    """It holds the number of finished epochs, and would seem to hold one less than this epoch's."""
    trainer, counting = Trainer(0, 0), EpochCounting(begun(), learns=True)
    for iteration in (1, 2, 3):
        counting.step(StepSeen(3, iteration, 10, 1.0, None))
    counting.look({})
    trainer.save(2)
    for _ in range(3):
        counting.look(dict(trainer.files))
    assert counting.bases.saved is None


def test_a_trainer_whose_lines_nobody_reads_is_finished_where_it_exits_0_and_saves_each_epoch() -> None:
    trainer, counting = Trainer(0, 1), EpochCounting(begun(), learns=True)
    for epoch in (1, 2, 3):
        trainer.save(epoch)
    counting.finish(dict(trainer.files), 3)
    assert counting.bases.saved == 1


# ------------------------------------------------------------------- a line for each whole epoch


@pytest.mark.parametrize("saves_first", [True, False])
@pytest.mark.parametrize(("printed", "saved"), CONVENTIONS)
def test_a_line_at_the_end_of_each_epoch_teaches_nothing_before_the_end(
    printed: Base, saved: Base, saves_first: bool
) -> None:
    """It may come before that epoch is saved or after: what it says of a file is known at the end alone."""
    trainer, counting = Trainer(printed, saved), EpochCounting(begun(), learns=True)
    counting.look({})
    for epoch in range(1, EPOCHS + 1):
        for what in ("save", "line") if saves_first else ("line", "save"):
            if what == "save":
                trainer.save(epoch)
            else:
                counting.step(StepSeen(epoch + printed, 0, None, 1.0, None))
            counting.look(dict(trainer.files))
            counting.look(dict(trainer.files))
            assert counting.bases.saved is None
    counting.finish(dict(trainer.files), EPOCHS)
    assert counting.bases == EpochBases(printed=printed, saved=saved)


@pytest.mark.parametrize(("printed", "saved"), CONVENTIONS)
def test_the_first_such_line_after_a_resume_tells(printed: Base, saved: Base) -> None:
    known = EpochBases.model_validate({"printed": printed})
    counting = EpochCounting(begun(known, resumed=2 - saved), learns=True)
    counting.step(StepSeen(3 + printed, 0, None, 1.0, None))
    assert counting.bases.saved == saved


def test_an_ignored_resume_teaches_no_count() -> None:
    """From a checkpoint numbered 0: begun again with the first epoch, it may as well not have resumed."""
    counting = EpochCounting(begun(EpochBases(printed=0), resumed=0), learns=True)
    counting.step(StepSeen(1, 0, None, 1.0, None))
    assert counting.bases.saved is None


def test_what_is_saved_as_finished_needs_no_line_to_tell() -> None:
    """As Hugging Face's trainer_state.json: of 2.5 epochs two are."""
    counting = EpochCounting(begun(), learns=True)
    counting.look({})
    counting.look({Path("checkpoint-20"): Glance((1, 1, 1), 2, finished=True)})
    assert counting.bases.saved == 0
    assert counting.doubt is None


@pytest.mark.parametrize("saved", [0, 1])
def test_files_from_before_an_ignored_resume_were_not_saved_within_its_first_epoch(saved: Base) -> None:
    """It is ended in the first epoch, whose number each of them has or exceeds."""
    counting = EpochCounting(begun(EpochBases(printed=1, saved=saved), resumed=4), learns=True)
    files = {Path(f"c{epoch}.pth"): Glance((1, 1, epoch), epoch - saved) for epoch in range(1, 5)}
    for iteration in (2, 4):
        counting.look(files)
        counting.step(StepSeen(2, iteration, 22, 1.0, None))
    counting.finish(files, None)
    assert counting.within == {}
