"""Which keys of a checkpoint hold what, whatever family of trainers wrote it."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from trainrelay.checkpoint.allowed import ITEM_BYTES
from trainrelay.checkpoint.problems import BrokenFile, shown
from trainrelay.checkpoint.values import Long, Opaque, Storage, Tensor
from trainrelay.records import ITERATIONS

_MOST_ITERATIONS = 2**53  # what readers of JSON hold exactly
_MOST_KEYS = 20  # of a file that is not understood, to be shown: a few lines
_MOST_CONTAINERS = 40_000  # one for each tensor that a file may have; optimizers need one for each weight
_END = object()
_WEIGHTS = ("state_dict", "model", "model_state", "model_state_dict", "net", "module")
_OPTIMIZER = ("optimizer", "optimizer_state", "optimizer_state_dict", "optim")
PARTS = frozenset((*_WEIGHTS, *_OPTIMIZER))
_AVERAGES = re.compile(r"\b(\w+_)?(ema|swa)(_\w+)?\b|EMA|(?i:shadow|averag|polyak|teacher)")
_SCALE = re.compile(r"(scaler|scaling|precision)[^.]*\.(\w+_)?scale$", re.IGNORECASE)  # of the loss
_ARRAYS = {"f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128"}


@dataclass(frozen=True, slots=True)
class Contents:
    """The parts of a checkpoint; `missing` names those that a resume needs and that are not there.

    `weights` are those of all models, a student's and its teacher's, and of averages, `model` those of the
    first. `number` is the epoch as it was saved; what a trainer counts with it, no file says. `bad_weight`
    and `bad_state` name plain numbers with which nothing can be trained.
    """

    weights: object
    model: object
    optimizer: object
    number: int | None
    iteration: int | None
    missing: tuple[str, ...]
    bad_weight: str | None = None
    bad_state: str | None = None
    numbers: str = ""  # the keys at its top that hold whole numbers


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
    inside = tensors_in(value) if isinstance(value, Opaque) else _children(value)  # a whole nn.Module
    arrays = key in _WEIGHTS and any(isinstance(one, Tensor) for _, one in inside)
    return arrays or any(key in _WEIGHTS or name.endswith("weight") for name in _tensor_names(value))


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
    number = count_at(root, ("meta", "epoch") if meta else ("epoch",))
    iteration = count_at(root, ("meta", "iter") if meta else ("iteration",))
    found = {key: part for key, part in root.items() if isinstance(part, dict) and part}
    optimizer = _one_or_all(
        {k: part for k, part in found.items() if k in _OPTIMIZER or "param_groups" in part}
    )
    counts = {"meta.epoch": number, "meta.iter": iteration} if meta else {"epoch": number}
    missing = tuple(name for name, part in {**counts, "optimizer": optimizer}.items() if part is None)
    model = next(iter(models.values()))
    others = {key: part for key, part in root.items() if key not in models}
    weights = _one_or_all({**models, **_averages(others, models)})
    named = {key: part for key, part in models.items() if key in _WEIGHTS}
    # An infinity may be a bound, or what is the best before there is one.
    nan = (name for name, one in _not_finite(named) if math.isnan(one) and "_extra_state" not in name)
    scales = (name for name, _ in _not_finite(others, 0.0) if _SCALE.search(name))
    state = chain(scales, (name for name, one in _not_finite(optimizer) if math.isnan(one)))
    bad_weight, bad_state = next(nan, None), next(state, None)
    there = {key: part for key, part in root.items() if count_at(root, (key,)) is not None}
    numbers = _keys(there) if there else ""
    return Contents(weights, model, optimizer, number, iteration, missing, bad_weight, bad_state, numbers)


def _averages(others: object, models: object) -> dict[object, object]:
    """Copies of the weights: what is in one place below such a name, a matrix of a weight's size among it."""
    sizes = {tensor.size for _, tensor in tensors_in(models) if len(tensor.size) > 1}
    found: dict[object, dict[object, Tensor]] = defaultdict(dict)
    for place, tensor in tensors_in(others):
        above, key = place or (None, None)
        if _AVERAGES.search(name := name_of(above)):
            found[name][key] = tensor
    return {name: part for name, part in found.items() if any(one.size in sizes for one in part.values())}


def _not_finite(root: object, also: float | None = None) -> Iterator[tuple[str, float]]:
    """Numbers below a value that are not finite, or are another, with their names."""
    numbers = ((place, one) for place, one in nodes(root) if isinstance(one, float))
    return ((name_of(place), one) for place, one in numbers if one == also or not math.isfinite(one))


def iterations_in(root: object, named: int | None = None) -> int | None:
    """How many iterations a checkpoint's name tells, or else its content; None: neither does.

    mmcv's `meta.iter` is the name's or, of its IterBasedRunner, one less; any other contradicts the name.
    """
    of_mmcv = count_at(root, ("meta", "iter"))
    if named is not None and (of_mmcv is None or 0 <= named - of_mmcv <= 1):
        return named
    counts = (*(count_at(root, (name,)) for name in ITERATIONS), of_mmcv)
    return next((count for count in counts if count is not None), None)


def count_at(root: object, path: Iterable[object]) -> int | None:
    """The number of epochs or iterations under a key, of a dictionary in others; None: none is there."""
    for key in path:
        root = root.get(key) if isinstance(root, dict) else None
    is_count = isinstance(root, int) and not isinstance(root, bool) and 0 <= root < _MOST_ITERATIONS
    return root if is_count else None  # type: ignore[return-value]


KeyPath = tuple["KeyPath", object] | None
"""A key, and the place of what it is in; names are made only of places that are shown."""


def tensors_in(root: object) -> Iterator[tuple[KeyPath, Tensor]]:
    """Every tensor or numpy array below a value and its place, in order."""
    return ((place, one) for place, one in nodes(root) if isinstance(one, Tensor))


def nodes(root: object) -> Iterator[tuple[tuple[KeyPath, object], object]]:
    """Every value below another and its place, in order; shared containers are entered once.

    Not recursive, because a hostile file can nest as deep as it is long.
    """
    waiting: list[tuple[KeyPath, Iterator[tuple[object, object]]]] = [(None, _children(root))]
    entered: set[int] = set()
    while waiting:
        place, children = waiting[-1]
        key, value = next(children, (_END, None))
        if key is _END:
            waiting.pop()
            continue
        yield (place, key), value
        if isinstance(value, dict | list | tuple | Opaque) and id(value) not in entered:
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
        return ((key, _array(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return ((key, _array(one)) for key, one in enumerate(value))
    if isinstance(value, Opaque):
        return iter([("args", value.args), ("state", value.state), ("items", value.items)])
    return iter(())


def _array(value: object) -> object:
    """A numpy array of floats, as torch's default protocol writes it, as a tensor; else the value itself."""
    match value:
        case Opaque(of, state=(_, tuple(shape), Opaque(_, (str(code), *_), (_, "<", *_)), _, raw)):
            known = code in _ARRAYS and of.path.endswith("multiarray._reconstruct")
            whole = all(isinstance(n, int) for n in shape) and 0 <= math.prod(shape) < _MOST_ITERATIONS
            if known and whole and isinstance(raw, bytes | Long):
                dtype = _ARRAYS[code]
                size = (numel := math.prod(shape)) * ITEM_BYTES[dtype]
                return Tensor(Storage(f"pickled {id(raw)}", dtype, size, raw), dtype, 0, size, shape, numel)
    return value
