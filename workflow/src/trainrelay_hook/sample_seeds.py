"""Each sample's random draws seeded from (seed, epoch, index), so that they do not depend on a worker's past.

A data worker knows nothing of the epoch, and a persistent one sees all of them: both travel with the batch.
A sample that draws another index for itself, as mmdet's `_rand_another` does, continues its own draws. Not
covered: a generator that the dataset made for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import get_worker_info

from trainrelay_hook import random_states


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
