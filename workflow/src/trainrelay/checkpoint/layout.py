"""Which keys of a checkpoint hold what, whatever family of trainers wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainrelay.checkpoint.problems import Broken, shown
from trainrelay.checkpoint.values import Opaque, Tensor

_MOST_ITERATIONS = 2**53
_MOST_KEYS = 20  # of a file that is not understood, to be shown
_MOST_CONTAINERS = 40_000
_END = object()
_WEIGHTS = ("state_dict", "model", "model_state", "model_state_dict", "net", "module")
_OPTIMIZER = ("optimizer", "optimizer_state", "optimizer_state_dict", "optim")


@dataclass(frozen=True, slots=True)
class Contents:
    """The parts of a checkpoint; `missing` names those that a resume needs and that are not there.

    `number` is the epoch as it was saved; what a trainer counts with it, no file tells.
    """

    weights: dict[object, object]
    optimizer: object
    number: int | None
    iteration: int | None
    missing: tuple[str, ...]


def contents_of(root: object) -> Contents:
    """The parts of a checkpoint, or of a bare dictionary of weights."""
    if not isinstance(root, dict):
        raise Broken("holds no dictionary of weights")
    weights = next((root[key] for key in _WEIGHTS if _has_tensors(root.get(key))), None)
    if isinstance(weights, dict):
        return _parts(root, weights)
    if _has_tensors(root) and not any(isinstance(value, dict) for value in root.values()):
        return Contents(root, None, None, None, ("epoch", "optimizer"))
    raise Broken(f"holds no weights (looked under {', '.join(_WEIGHTS)}); its keys: {_keys(root)}")


def _has_tensors(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(one, Tensor) for one in value.values())


def _keys(root: dict[object, object]) -> str:
    names = (key[:40] if isinstance(key, str) else type(key).__name__ for key in list(root)[:_MOST_KEYS])
    return shown(", ".join(names)) or "none"


def _parts(root: dict[object, object], weights: dict[object, object]) -> Contents:
    own = root.get("meta")  # mmcv's, unless the trainer counts beside it
    meta = isinstance(own, dict) and ("epoch" in own or "epoch" not in root)
    number = _count(root, ("meta", "epoch") if meta else ("epoch",))
    iteration = _count(root, ("meta", "iter") if meta else ("iteration",))
    optimizer = next((root[key] for key in _OPTIMIZER if isinstance(root.get(key), dict) and root[key]), None)
    counts = {"meta.epoch": number, "meta.iter": iteration} if meta else {"epoch": number}
    missing = tuple(name for name, part in {**counts, "optimizer": optimizer}.items() if part is None)
    return Contents(weights, optimizer, number, iteration, missing)


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
