"""The order of a training's samples: continued after a batch without loading those before it.

A batch sampler in the place of the loader's own, which draws the same and drops what was done. The samplers
that are known draw from the global generators only when an epoch begins: with the states of then, the order
is the same. Whatever else asks the batch sampler is answered by the loader's own.

`exact`: each sample's random draws are seeded from (seed, epoch, index), so that they do not depend on a
worker's past. A data worker knows nothing of the epoch, and a persistent one sees all of them: both travel
with the batch. A sample that draws another index for itself, as mmdet's `_rand_another` does, continues its
own draws. Not covered: a generator that the dataset made for itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, get_worker_info

from trainrelay_hook import random_states

KNOWN = {
    *("SequentialSampler", "RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler"),  # of torch
    # of torch, mmdet and its family
    *("DistributedSampler", "GroupSampler", "DistributedGroupSampler", "ClassAwareSampler"),
}


def why_unknown(loader: Any) -> str | None:
    """Why this loader's order cannot be continued; None: it can."""
    if not isinstance(loader, DataLoader):
        return "the data loader {} is not known".format(type(loader).__name__)
    if type(loader.batch_sampler) is not BatchSampler:
        return "the batch sampler {} is not known".format(type(loader.batch_sampler).__name__)
    sampler = loader.batch_sampler.sampler
    if type(sampler).__name__ not in KNOWN:
        return "the sampler {} is not known".format(type(sampler).__name__)
    if getattr(sampler, "generator", None) is not None:
        return "the sampler {} has its own random number generator".format(type(sampler).__name__)
    return None


class Order(BatchSampler):
    """Yields what the loader's own yields; `seed` switches on that samples are seeded."""

    def __init__(self, loader: Any, seed: int | None) -> None:
        self._inner, self.dataset = loader.batch_sampler, loader.dataset
        self.seed, self.epoch = seed, 0
        self.began: dict[str, Any] = {}  # the generators when the current epoch's order was drawn
        self._done: tuple[int, dict[str, Any], dict[str, Any]] | None = None
        loader.__dict__["batch_sampler"] = self  # a loader refuses to have it set

    def resume(self, done: int, began: dict[str, Any], then: dict[str, Any]) -> None:
        """The next pass drops `done` batches; the generators were `began` at its start, `then` after them."""
        self._done = done, began, then

    def __iter__(self) -> Iterator[Any]:
        (done, began, then), self._done = self._done or (0, None, None), None
        if began is not None:
            random_states.put_back(began)
        self.began, epoch = random_states.taken(), self.epoch
        batches = iter(self._inner)
        for _ in itertools.islice(batches, done):
            pass
        if then is not None:  # before the next samples are drawn, and also if none are left in this epoch
            random_states.put_back(then)
        for batch in batches:
            yield batch if self.seed is None else Batch(batch, self.seed, epoch)

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # in a copy that is being made
            raise AttributeError(name)
        return getattr(self._inner, name)


class Batch(list):  # type: ignore[type-arg]
    """The indices of a batch. The fetcher of each torch goes through them; each seeds before its sample."""

    def __init__(self, indices: Iterable[Any], seed: int, epoch: int) -> None:
        super().__init__(indices)
        self._seed, self._epoch = seed, epoch

    def __reduce__(self) -> Any:
        return Batch, ([*list.__iter__(self)], self._seed, self._epoch)

    def __iter__(self) -> Iterator[Any]:
        # Without workers the samples are drawn where the model draws, too.
        states = random_states.taken() if get_worker_info() is None else None
        try:
            for index in list.__iter__(self):
                random_states.seed(self._seed, self._epoch, index)
                yield index
        finally:
            if states:
                random_states.put_back(states)
