"""Which keys of a checkpoint hold what, by the family of trainers that wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainrelay.checkpoint.problems import Broken
from trainrelay.checkpoint.values import Opaque, Tensor

_MOST_ITERATIONS = 2**53
_MOST_CONTAINERS = 40_000
_END = object()


@dataclass(frozen=True, slots=True)
class Layout:
    """Key paths. `epoch_base` is added to the epoch read, so that it counts finished epochs."""

    weights: str
    epoch: tuple[str, ...]
    iteration: tuple[str, ...]
    epoch_base: int = 0
    needs_iteration: bool = False
    optimizer: str = "optimizer"


LAYOUTS = (
    Layout("state_dict", ("meta", "epoch"), ("meta", "iter"), needs_iteration=True),  # mmcv, mmengine
    Layout("model", ("epoch",), ("iteration",), epoch_base=1),  # DETR and its family count from 0
)


@dataclass(frozen=True, slots=True)
class Contents:
    """The parts of a checkpoint; `missing` names those that a resume needs and that are not there."""

    weights: dict[object, object]
    optimizer: object
    epoch: int | None
    iteration: int | None
    missing: tuple[str, ...]


def contents_of(root: object) -> Contents:
    """The parts of a checkpoint of a known layout, or of a bare dictionary of weights."""
    if not isinstance(root, dict):
        raise Broken("holds no dictionary of weights")
    for layout in LAYOUTS:
        weights = root.get(layout.weights)
        if isinstance(weights, dict):
            return _checked(_by_layout(root, weights, layout))
    return _checked(Contents(root, None, None, None, ("meta", "optimizer")))


def _checked(contents: Contents) -> Contents:
    if not any(isinstance(value, Tensor) for value in contents.weights.values()):
        raise Broken("holds no weights (neither under state_dict nor under model)")
    return contents


def _by_layout(root: dict[object, object], weights: dict[object, object], layout: Layout) -> Contents:
    epoch, iteration = _count(root, layout.epoch), _count(root, layout.iteration)
    optimizer = root.get(layout.optimizer)
    missing = [] if epoch is not None else [".".join(layout.epoch)]
    if iteration is None and layout.needs_iteration:
        missing.append(".".join(layout.iteration))
    if not isinstance(optimizer, dict) or not optimizer:
        missing.append(layout.optimizer)
    finished = None if epoch is None else epoch + layout.epoch_base
    return Contents(weights, optimizer, finished, iteration, tuple(missing))


def _count(root: object, path: tuple[str, ...]) -> int | None:
    for key in path:
        root = root.get(key) if isinstance(root, dict) else None
    is_count = isinstance(root, int) and not isinstance(root, bool) and 0 <= root < _MOST_ITERATIONS
    return root if is_count else None  # type: ignore[return-value]


Place = tuple["Place", object] | None
"""A key, and the place of what it is in; names are made only of places that are told."""


def tensors_in(root: object) -> Iterator[tuple[Place, Tensor]]:
    """Every tensor below a value and its place, in order; shared containers are entered once.

    Not recursive, because a hostile file can nest as deep as it is long.
    """
    waiting: list[tuple[Place, Iterator[tuple[object, object]]]] = [(None, _children(root))]
    entered: set[int] = set()
    while waiting:
        place, children = waiting[-1]
        key, value = next(children, (_END, None))
        if key is _END:
            waiting.pop()
        elif isinstance(value, Tensor):
            yield (place, key), value
        elif isinstance(value, dict | list | tuple | Opaque) and id(value) not in entered:
            if len(entered) == _MOST_CONTAINERS:
                raise Broken("holds more objects than any checkpoint does")
            entered.add(id(value))
            waiting.append(((place, key), _children(value)))


def name_of(place: Place) -> str:
    """The dotted name, its end if it is long."""
    keys = []
    while place is not None:
        place, key = place
        keys.append(key[:200] if isinstance(key, str) else str(key) if isinstance(key, int) else "?")
    return ".".join(reversed(keys))[-1000:]


def _children(value: object) -> Iterator[tuple[object, object]]:
    if isinstance(value, dict):
        return iter(value.items())
    if isinstance(value, list | tuple):
        return iter(enumerate(value))
    if isinstance(value, Opaque):
        return iter([("args", value.args), ("state", value.state), ("items", value.items)])
    return iter(())
