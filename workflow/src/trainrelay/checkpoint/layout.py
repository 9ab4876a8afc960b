"""Which keys of a checkpoint hold what, whatever family of trainers wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainrelay.checkpoint.problems import BrokenFile, shown
from trainrelay.checkpoint.values import Opaque, Tensor

_MOST_ITERATIONS = 2**53  # what readers of JSON hold exactly
_MOST_KEYS = 20  # of a file that is not understood, to be shown: a few lines
_MOST_CONTAINERS = 40_000  # one for each tensor that a file may have; optimizers need one for each weight
_END = object()
_WEIGHTS = ("state_dict", "model", "model_state", "model_state_dict", "net", "module")
_OPTIMIZER = ("optimizer", "optimizer_state", "optimizer_state_dict", "optim")


@dataclass(frozen=True, slots=True)
class Contents:
    """The parts of a checkpoint; `missing` names those that a resume needs and that are not there.

    `weights` are those of all models, a student's and its teacher's, `model` those of the first. `number` is
    the epoch as it was saved; what a trainer counts with it, no file says.
    """

    weights: object
    model: object
    optimizer: object
    number: int | None
    iteration: int | None
    missing: tuple[str, ...]


def contents_of(root: object) -> Contents:
    """The parts of a checkpoint, or of a bare dictionary of weights."""
    if not isinstance(root, dict):
        raise BrokenFile("holds no dictionary of weights")
    if models := {key: value for key, value in root.items() if _is_model(key, value)}:
        return _parts(root, models)
    if any(_tensor_names(root)) and not any(isinstance(value, dict) for value in root.values()):
        return Contents(root, root, None, None, None, ("epoch", "optimizer"))
    looked = f"looked under {', '.join(_WEIGHTS)} and for a dictionary with a tensor named ..weight"
    raise BrokenFile(f"holds no weights ({looked}); its keys: {_keys(root)}")


def _is_model(key: object, value: object) -> bool:
    """By its key, or by what is in it: metrics and states of random numbers are tensors, too."""
    return any(key in _WEIGHTS or name.endswith("weight") for name in _tensor_names(value))


def _tensor_names(value: object) -> Iterator[str]:
    items = value.items() if isinstance(value, dict) else ()
    return (name if isinstance(name, str) else "?" for name, one in items if isinstance(one, Tensor))


def _one_or_all(parts: dict[object, object]) -> object:
    return next(iter(parts.values())) if len(parts) == 1 else parts or None


def _keys(root: dict[object, object]) -> str:
    names = (key[:40] if isinstance(key, str) else type(key).__name__ for key in list(root)[:_MOST_KEYS])
    return shown(", ".join(names)) or "none"


def _parts(root: dict[object, object], models: dict[object, object]) -> Contents:
    own = root.get("meta")  # mmcv's, unless the trainer counts beside it
    meta = isinstance(own, dict) and ("epoch" in own or "epoch" not in root)
    number = _count(root, ("meta", "epoch") if meta else ("epoch",))
    iteration = _count(root, ("meta", "iter") if meta else ("iteration",))
    found = {key: part for key, part in root.items() if isinstance(part, dict) and part}
    optimizer = _one_or_all(
        {k: part for k, part in found.items() if k in _OPTIMIZER or "param_groups" in part}
    )
    counts = {"meta.epoch": number, "meta.iter": iteration} if meta else {"epoch": number}
    missing = tuple(name for name, part in {**counts, "optimizer": optimizer}.items() if part is None)
    model = next(iter(models.values()))
    return Contents(_one_or_all(models), model, optimizer, number, iteration, missing)


def _count(root: object, path: tuple[str, ...]) -> int | None:
    for key in path:
        root = root.get(key) if isinstance(root, dict) else None
    is_count = isinstance(root, int) and not isinstance(root, bool) and 0 <= root < _MOST_ITERATIONS
    return root if is_count else None  # type: ignore[return-value]


KeyPath = tuple["KeyPath", object] | None
"""A key, and the place of what it is in; names are made only of places that are shown."""


def tensors_in(root: object) -> Iterator[tuple[KeyPath, Tensor]]:
    """Every tensor below a value and its place, in order; shared containers are entered once.

    Not recursive, because a hostile file can nest as deep as it is long.
    """
    waiting: list[tuple[KeyPath, Iterator[tuple[object, object]]]] = [(None, _children(root))]
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
                raise BrokenFile("holds more objects than any checkpoint does")
            entered.add(id(value))
            waiting.append(((place, key), _children(value)))


def name_of(place: KeyPath) -> str:
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
