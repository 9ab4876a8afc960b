"""What one rank has seen, known to all at the same iteration: a small all-reduce in a gloo group.

It runs while the gradients are computed. The group is made only if every rank says that it takes part: one
that came without the hook would never answer. Without a group, also after any failure of it, each
rank is on its own. A rank that dies or hangs shows in the trainer's communication, as without us.
"""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

MEET_S = 60.0  # ranks begin a run some seconds apart; one without the hook delays the others by this, once
LAST_WORD_S = 10.0  # for all ranks to write down what they saw, before the first one ends
PATIENCE_S = 24 * 3600.0  # more than the trainer's own: rank 0 may evaluate alone while the others wait

_runs = itertools.count()


class Agreement:
    """The ranks of one run of a trainer; it is alone where that is not distributed."""

    def __init__(self) -> None:
        self._work: Any = None
        self._said = torch.zeros(0, device="cpu")
        self._heard: list[float] = []
        self._alone = not _distributed()
        try:
            self._group = _group()
        except Exception:  # noqa: BLE001 - no common network, say
            self._group = None

    @property
    def whole(self) -> bool:
        """Whether every rank hears the others."""
        return self._alone or self._group is not None

    def say(self, values: Sequence[float]) -> None:
        """Tells the others what this rank has seen in this iteration; as many values on every rank."""
        self._said, self._heard = torch.tensor(values, dtype=torch.float32, device="cpu"), []
        self._work = self._reduce(self._said)

    def hear(self) -> list[float]:
        """The highest of each value on any rank; if the others cannot be asked, this one's."""
        if not self._heard:
            own = self._said.tolist()
            self._heard = self._said.tolist() if self._wait(self._work, PATIENCE_S) else own
        return self._heard

    def forget(self) -> None:
        """An iteration begins, in which nobody has said anything yet."""
        self._said, self._heard = torch.zeros(0, device="cpu"), []

    def all(self, ready: bool) -> bool:
        """Whether every rank is; each must ask."""
        self.say([not ready])
        return not self.hear()[0] and self.whole

    def part(self) -> None:
        """Waits until every rank has come here, within reason."""
        self._wait(self._reduce(torch.zeros(1, device="cpu")), LAST_WORD_S)

    def _reduce(self, values: torch.Tensor) -> Any:
        try:
            return self._group and dist.all_reduce(values, dist.ReduceOp.MAX, self._group, async_op=True)
        except Exception:  # noqa: BLE001 - torch's errors have no common class
            self._group = None

    def _wait(self, work: Any, most_s: float) -> bool:
        self._work = None
        try:
            if work is not None:
                work.wait(datetime.timedelta(seconds=most_s))
        except Exception:  # noqa: BLE001 - as above
            self._group = None
        return work is not None and self._group is not None


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _group() -> Any:
    """A gloo group of all ranks, if all take part."""
    if not _distributed():
        return None
    store, key = dist.distributed_c10d._get_default_store(), "trainrelay_hook/{}/".format(next(_runs))
    if not _all_meet(store, key + "here"):
        return None
    # Whoever cannot make it says so by not coming to the second meeting; the others wait for it only so long.
    widen = getattr(dist.distributed_c10d, "_set_pg_timeout", None)  # torch >= 2.1
    meet, patience = datetime.timedelta(seconds=MEET_S), datetime.timedelta(seconds=PATIENCE_S)
    group = dist.new_group(backend="gloo", timeout=meet if widen else patience)
    if widen:
        widen(patience, group)
    return group if _all_meet(store, key + "made") else None


def _all_meet(store: Any, key: str) -> bool:
    """Whether every rank came here; the same answer on all, given by the first that waits no longer."""
    world, until_s = dist.get_world_size(), time.monotonic() + MEET_S
    here = store.add(key, 1)
    while here < world and time.monotonic() < until_s:
        time.sleep(0.01)
        here = store.add(key, 0)
    if store.add(key + "/answers", 1) == 1:
        store.set(key + "/answer", "all" if here >= world else "some")
    return bool(store.get(key + "/answer") == b"all")
