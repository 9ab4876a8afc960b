"""The order of samples, continued without loading any, and the seeds of their draws."""

from __future__ import annotations

import pickle
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from trainrelay_hook import random_states
from trainrelay_hook.data_order import Batch, Order, count_passes, put_into, why_unknown


class Counted(Dataset):  # type: ignore[type-arg]
    """Counts what is loaded, and draws."""

    def __init__(self, length: int) -> None:
        self.length, self.loaded = length, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[float]:
        self.loaded += 1
        return [index, random.random(), float(np.random.rand()), float(torch.rand(1))]


@pytest.fixture(autouse=True)
def generators() -> Iterator[None]:
    """As they were for the tests that follow."""
    states = random_states.taken()
    yield
    random_states.put_back(states)


def test_an_epoch_is_as_without_us() -> None:
    """Order, draws and the generators afterwards."""
    found = []
    for ours in (True, False):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        loader = DataLoader(Counted(10), batch_size=3, shuffle=True)
        if ours:
            Order(loader, None)
        assert len(loader) == 4
        found.append([[one.tolist() for one in batch] for batch in loader] + [[random.random()]])
    assert found[0] == found[1]


def test_a_sampler_that_counts_anew_is_not_asked_in_each_iteration() -> None:
    """As one that groups samples may: in the bench it took most of what the hook costs."""

    class Counting(RandomSampler):
        asked = 0

        def __len__(self) -> int:
            self.asked += 1
            return super().__len__()

    sampler = Counting(Counted(10))
    order = Order(DataLoader(Counted(10), batch_size=3, sampler=sampler), None)
    begun = sampler.asked
    assert all((order, order.length == 4, order))
    assert sampler.asked == begun


def test_almost_all_of_a_large_epoch_is_skipped_within_seconds() -> None:
    """And nothing of it is loaded; the rest is drawn as it would have been."""
    data = Counted(28_130)
    loader = DataLoader(data, batch_size=1, shuffle=True)
    order = Order(loader, None)
    torch.manual_seed(3)
    began = random_states.taken()
    all_of_it = [batch[0].tolist() for batch in loader]
    data.loaded = 0
    order.resume(27_849, order.kept())
    torch.manual_seed(4)
    began_s = time.monotonic()
    rest = [batch[0].tolist() for batch in loader]
    assert time.monotonic() - began_s < 5
    assert rest == all_of_it[27_849:]
    assert data.loaded == len(rest)
    assert torch.equal(order.began["torch"], began["torch"]) is False  # a loader draws a seed first
    assert len(list(loader)) == 28_130


def test_each_sample_is_seeded_whatever_was_drawn_before() -> None:
    """In the main process, whose own generators are left as they were."""
    found = []
    for start in (1, 2):
        random.seed(start)
        torch.manual_seed(start)
        loader = DataLoader(Counted(4), batch_size=2, sampler=SequentialSampler(range(4)))
        Order(loader, 7).epoch = 5
        found.append([[one.tolist() for one in batch] for batch in loader])
    assert found[0] == found[1]
    random.seed(9)
    expected = random.random()
    random.seed(9)
    assert [*Batch([3, 4], 1, 2)] == [3, 4]
    assert random.random() == expected


def test_seeds_depend_on_all_three_and_travel_with_the_batch() -> None:
    """As a worker gets it."""

    def drawn(*of: int) -> Any:
        batch = pickle.loads(pickle.dumps(Batch([of[2]], of[0], of[1])))
        return next((random.random(), np.random.rand(), torch.rand(1).item()) for _ in batch)

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({drawn(*of) for of in [(1, 2, 3), (0, 2, 3), (1, 0, 3), (1, 2, 0)]}) == 4


class AspectRatioBatchSampler(BatchSampler):
    """As mmdet 3's, it gathers two kinds of samples for as long as it takes."""

    def __init__(self, sampler: Any, batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)
        self.gathered: list[list[int]] = [[], []]

    def __iter__(self) -> Iterator[list[int]]:
        for index in self.sampler:
            one = self.gathered[index % 3 == 0]
            one.append(index)
            if len(one) == self.batch_size:
                yield one[:]
                one.clear()
        yield [*self.gathered[0], *self.gathered[1]]
        self.gathered = [[], []]


@pytest.mark.parametrize("infinite", [True, False])
def test_a_loop_over_passes_continues_in_the_one_that_it_was_in(infinite: bool) -> None:
    """In its order, at its batch, with its number of passes, and though it began another pass before."""
    begun: list[Any] = []

    def loop() -> tuple[Any, Order]:
        data = Counted(11)
        sampler = InfiniteSampler(data, seed=5) if infinite else DefaultSampler(data, seed=5)
        loader = DataLoader(data, batch_sampler=AspectRatioBatchSampler(sampler, 2))
        torch.manual_seed(3)
        begun.append(Passes(loader))
        return loader, loader.batch_sampler  # type: ignore[return-value]

    def drawn(passes: Any, number: int) -> list[Any]:
        return [next(passes)[0].tolist() for _ in range(number)]

    count_passes(Passes, lambda loader: put_into(loader, {"exact": True}, by_epoch=False))
    _, order = loop()
    assert why_unknown(DataLoader(order.dataset, batch_sampler=order._inner)) is None
    drawn(begun[0], 9)
    order.batches = 9  # of step 20: the trainer had resumed its own checkpoint, and begun its data again
    kept, passes = order.kept(), order.passes
    rest = drawn(begun[0], 12)
    loader, order = loop()
    drawn(begun[1], 3)
    order.resume(20, kept)
    again = Passes(loader)
    assert again._epoch == passes == (0 if infinite else 1)
    assert drawn(again, 12) == rest


class Passes:
    """As mmengine's _InfiniteDataloaderIterator and mmcv's IterLoader."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.left, self._epoch = loader, iter(loader), 0

    def __next__(self) -> Any:
        try:
            return next(self.left)
        except StopIteration:
            self._epoch += 1
            self.loader.batch_sampler.sampler.set_epoch(self._epoch)
            self.left = iter(self.loader)
            return next(self.left)


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


class Ours(BatchSampler):
    pass


def of_a_stranger(generator: Any) -> DataLoader:  # type: ignore[type-arg]
    """A sampler of a known name, whose draws are its own."""
    kind = type("DistributedSampler", (SequentialSampler,), {})
    sampler = kind(range(4))
    sampler.draws = generator
    return DataLoader(Counted(4), sampler=sampler)


@pytest.mark.parametrize(
    ("loader", "why"),
    [
        ([1, 2], "the data loader list is not known"),
        (DataLoader(Endless(), batch_size=2), "the sampler _InfiniteConstantSampler is not known"),
        (DataLoader(Counted(4), batch_size=None), "the batch sampler NoneType is not known"),
        (
            DataLoader(Counted(4), batch_sampler=Ours(SequentialSampler(range(4)), 2, False)),
            "the batch sampler Ours is not known",
        ),
        (
            DataLoader(Counted(4), sampler=RandomSampler(range(4), generator=torch.Generator())),
            "the sampler RandomSampler has its own random number generator",
        ),
        *[
            (of_a_stranger(one), "the sampler DistributedSampler has its own random number generator")
            for one in (
                random.Random(1),
                np.random.RandomState(1),
                np.random.default_rng(1),
                torch.Generator(),
            )
        ],
        (of_a_stranger(None), None),
        (DataLoader(Counted(4), shuffle=True), None),
        (DataLoader(Counted(4), sampler=DistributedSampler(range(4), num_replicas=2, rank=0)), None),
    ],
)
def test_only_what_is_known_is_continued(loader: Any, why: str | None) -> None:
    """By the class of the loader, its batch sampler and its sampler."""
    assert why_unknown(loader) == why
