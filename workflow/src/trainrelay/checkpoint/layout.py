"""Which keys of a checkpoint hold what, whatever family of trainers wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trainrelay.checkpoint.problems import Broken, shown
from trainrelay.checkpoint.values import Opaque, Tensor

_MOST_ITERATIONS = 2**53
_MOST_KEYS = 20  # of a file that is not understood, to be shown
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
    meta = isinstance(root.get("meta"), dict)
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
