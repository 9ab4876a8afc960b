"""Which keys of a checkpoint hold what, by the family of trainers that wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trainrelay.checkpoint.problems import Broken
from trainrelay.checkpoint.values import Opaque, Tensor

_MOST_ITERATIONS = 2**53


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


def tensors_in(root: object) -> Iterator[tuple[str, Tensor]]:
    """Every tensor below a value with its dotted name, in order; shared containers are entered once.

    Not recursive, because a hostile file can nest as deep as it is long.
    """
    waiting: list[tuple[str, object]] = [("", root)]
    entered: set[int] = set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            yield name, value
        elif id(value) not in entered:
            entered.add(id(value))
            waiting.extend(reversed([(_joined(name, key), child) for key, child in _children(value)]))


def _joined(name: str, key: object) -> str:
    """Bounded, because names nest as deep as the file does."""
    last = key[:200] if isinstance(key, str) else str(key) if isinstance(key, int) else "?"
    return f"{name}.{last}"[-1000:] if name else last


def _children(value: object) -> Iterator[tuple[object, object]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif isinstance(value, Opaque):
        yield from [("args", value.args), ("state", value.state), ("items", value.items)]
