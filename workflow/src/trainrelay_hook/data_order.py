"""The order of a training's samples: continued after a batch without loading those before it.

A batch sampler in the place of the loader's own, which draws the same and drops what was done. The samplers
that are known draw from the global generators only when an epoch begins: with the states of then, the order
is the same. Whatever else asks the batch sampler is answered by the loader's own.

`exact`: each sample's random draws are seeded from (seed, epoch, index), so that they do not depend on a
worker's past; where epochs are not counted, from (seed, number of the batch, index). A data worker knows
nothing of these, and a persistent one sees all epochs: they travel with the batch. A sample that draws
another index for itself, as mmdet's `_rand_another` does, continues its own draws. Not covered: a generator
that the dataset made for itself.
"""

from __future__ import annotations

import copy
import functools
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, get_worker_info

from trainrelay_hook import random_states

KNOWN = {
    *("SequentialSampler", "RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler"),  # of torch
    # of torch, mmdet and its family
    *("DistributedSampler", "GroupSampler", "DistributedGroupSampler", "ClassAwareSampler"),
    *("DefaultSampler", "InfiniteSampler"),  # of mmengine
}


def why_unknown(loader: Any) -> str | None:
    """Why this loader's order cannot be continued; None: it can."""
    if not isinstance(loader, DataLoader):
        return "the data loader {} is not known".format(type(loader).__name__)
    batches: Any = getattr(loader.batch_sampler, "_inner", loader.batch_sampler)  # of an `Order`
    if type(batches) is not BatchSampler and type(batches).__name__ != "AspectRatioBatchSampler":  # mmdet 3's
        return "the batch sampler {} is not known".format(type(batches).__name__)
    sampler = batches.sampler
    if type(sampler).__name__ not in KNOWN:
        return "the sampler {} is not known".format(type(sampler).__name__)
    if any(map(_is_generator, vars(sampler).values())):
        return "the sampler {} has its own random number generator".format(type(sampler).__name__)
    return None


def _is_generator(one: Any) -> bool:
    return isinstance(one, (random.Random, torch.Generator)) or type(one).__module__.startswith(
        "numpy.random"
    )


def put_into(loader: Any, steps: dict[str, Any] | None, *, by_epoch: bool) -> Order:
    """The order of a loader that is known; `steps` are the settings of step checkpoints."""
    if isinstance(loader.batch_sampler, Order):
        return loader.batch_sampler
    exact = steps is not None and steps["exact"]
    return Order(loader, torch.initial_seed() if exact else None, by_epoch=by_epoch)


def count_passes(kind: Any, prepare: Callable[[Any], None] = lambda _: None) -> None:
    """Of a class that goes through a loader again and again, for a runner that counts no epochs.

    It counts them itself, from the pass on in which a training continues. `prepare` gets the loader first.
    """
    original = kind.__init__

    @functools.wraps(original)
    def __init__(self: Any, dataloader: Any) -> None:  # noqa: N807
        prepare(dataloader)
        order = getattr(dataloader, "batch_sampler", None)
        passes = order.passes if isinstance(order, Order) else 0
        original(self, dataloader)
        self._epoch = passes

    kind.__init__ = __init__


class Order(BatchSampler):
    """Yields what the loader's own yields; `seed` switches on that samples are seeded."""

    def __init__(self, loader: Any, seed: int | None, *, by_epoch: bool = True) -> None:
        self._inner, self.dataset = loader.batch_sampler, loader.dataset
        self.seed, self.epoch, self._by_epoch = seed, 0, by_epoch
        self.passes = 0  # that are over
        self.begins = True  # the next pass is the training's, not one that a hook makes beside it
        self._under_way = self.lost = False  # by iterations: a pass; it is not known which is the training's
        self.batches = 0  # that were trained with, by iterations: a trainer's own resume may begin again
        self.began: dict[str, Any] = {}  # the generators when the current pass's order was drawn
        self.length = len(self)  # of this pass: a sampler may count them again each time
        self._done: tuple[int, dict[str, Any], dict[str, Any]] | None = None
        # Workers that outlive an epoch know the data set as it was when they began.
        self._outliving = loader if getattr(loader, "persistent_workers", False) else None
        self.workers_began = False
        self.known: dict[str, Any] | None = None  # the data set's attributes then
        loader.__dict__["batch_sampler"] = self  # a loader refuses to have it set

    def kept(self) -> dict[str, Any]:
        """What it continues with; the generators are `then` after what is done."""
        drawn = getattr(self._inner.sampler, "seed", None)  # may have been drawn for this attempt
        then = random_states.taken()
        what = {"began": self.began, "then": then, "seed": self.seed, "sampler_seed": drawn}
        return {**what, "batches": self.batches}

    def resume(self, done: int, kept: dict[str, Any]) -> None:
        """The next pass drops what is done: batches of its epoch, or of all passes so far."""
        sampler = self._inner.sampler
        self.seed = kept["seed"]
        if kept.get("sampler_seed") is not None:
            sampler.seed = kept["sampler_seed"]
        if not self._by_epoch:
            done = self.batches = kept["batches"]
        if hasattr(sampler, "_indices_of_rank"):  # mmengine's InfiniteSampler: a pass has no end
            sampler.indices = sampler._indices_of_rank()
        elif not self._by_epoch:
            self.passes, before = divmod(done - 1, len(self))
            done = before + 1  # at a pass's end none are left: what follows that is done again
        self._done = done, kept["began"], kept["then"]

    def __iter__(self) -> Iterator[Any]:
        (done, began, then), self._done = self._done or (0, None, None), None
        if began is not None:
            random_states.put_back(began)
            if not self._by_epoch and hasattr(self._inner.sampler, "set_epoch"):
                self._inner.sampler.set_epoch(self.passes)  # a hook may have told it the first
        beside = not self.begins and (self._by_epoch or self._under_way)
        self.lost, self._under_way = self.lost or (beside and not self._by_epoch), True
        if self._outliving is not None and getattr(self._outliving, "_iterator", None) is None:
            self.workers_began = True
        epoch, self.began = self.epoch, self.began if beside else random_states.taken()
        # A copy: what a pass that is given up has gathered for a batch is not for the next one.
        batches = iter(copy.deepcopy(self._inner, {id(self._inner.sampler): self._inner.sampler}))
        for _ in itertools.islice(batches, done):
            pass
        if then is not None:  # before the next samples are drawn, and also if none are left in this epoch
            random_states.put_back(then)
        for number, batch in enumerate(batches, self.passes * len(self) + done):
            yield batch if self.seed is None else Batch(batch, self.seed, epoch if self._by_epoch else number)
        self.passes += 1
        self._under_way = False

    def __bool__(self) -> bool:
        return True  # without counting

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
