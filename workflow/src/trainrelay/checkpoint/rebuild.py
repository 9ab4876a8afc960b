"""What the allow-listed calls of a checkpoint amount to, as inert values."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable

from trainrelay.checkpoint.allowed import ITEM_BYTES, MAPPINGS, STORAGE_DTYPE
from trainrelay.checkpoint.problems import BrokenFile, UnsafeFile
from trainrelay.checkpoint.values import Global, Long, Opaque, Storage, Tensor

_MOST_ELEMENTS = 2**40  # of one tensor; an expanded view may declare more than the file holds
_EXACT = (str, bytes, bool, type(None))
_MOST_KEY = 2**20  # larger numbers could be chosen so that they collide
_KEY = Global("key")
_TEXTS = ("str", "str_", "TorchVersion", "bytes", "scalar")
_DTYPE = re.compile(r"[<>|=]?[A-Za-z?]\d{0,9}(\[\w{1,9}\])?")
_SUBCLASS = "torch._tensor._rebuild_from_type_v2"


def called(function: object, args: object, spend: Callable[[int], None]) -> object:
    """The value of `function(*args)`: what we know how to rebuild, else an inert stand-in.

    `spend` is asked before bytes are copied.
    """
    while isinstance(function, Global) and function.path == _SUBCLASS and isinstance(args, tuple):
        if len(args) < 3:
            return Opaque(function, args)
        if any(map(_replaces_data, args[3:])):
            raise UnsafeFile("give a tensor other data than are checked")
        function, args = args[0], args[2]  # of (function, class, arguments, state)
        if isinstance(function, Global) and not function.path.startswith(("torch._utils.", _SUBCLASS)):
            raise UnsafeFile(f"call {function.path} as if it made a tensor")
        spend(8)
    if not isinstance(function, Global) or not isinstance(args, tuple):
        raise BrokenFile("calls something that is not a function")
    _refuse_other_forms(function, args)
    spend(8 * len(args))
    if function.path in MAPPINGS:
        return _mapping(args, spend)
    rebuild = _REBUILDS.get(function.path)
    return rebuild(function, args) if rebuild else Opaque(function, args)


def constructed(cls: object, args: object) -> object:
    """The value of `cls.__new__(cls, *args)`."""
    if not isinstance(cls, Global) or not isinstance(args, tuple):
        raise BrokenFile("makes an object of something that is not a class")
    _refuse_other_forms(cls, args)
    return {} if cls.path in MAPPINGS else Opaque(cls, args)


def _refuse_other_forms(function: Global, args: tuple[object, ...]) -> None:
    """Picklers give these the data themselves; a number or a range would become more than any file holds."""
    known = not args or args[0] is None or isinstance(args[0], _FORMS.get(function.last, object))
    if not known or (function.last == "_reconstruct" and args[1:2] != ((0,),)):  # an array is empty at first
        raise UnsafeFile(f"call {function.path} with what no checkpoint gives it")


_FORMS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(["bytearray", "bytes"], (str, bytes, list, tuple, Global)),
    **dict.fromkeys(["int", "str", "str_", "TorchVersion"], (str, bytes, Global)),
    **dict.fromkeys(["frozenset", "list", "set", "tuple", "Counter", "deque", "Size"], (list, tuple, dict)),
    **dict.fromkeys(["ndarray", "Tensor", "TypedStorage", *STORAGE_DTYPE], ()),
    **dict.fromkeys(["DictConfig", "ListConfig", "AnyNode", "StringNode"], ()),  # which take what they hold
}


def set_state(target: object, state: object) -> None:
    """What `__setstate__` or `__dict__.update` would do; only stand-ins remember it."""
    if isinstance(target, Global):
        raise UnsafeFile(f"change {target.path}")
    if isinstance(target, Tensor) or _replaces_data(state):
        raise UnsafeFile("give a tensor other data than are checked")
    if isinstance(target, Opaque):
        if target.maker.path == "numpy.dtype":
            _refuse_dtype_state(target, state)
        elif target.maker.path.startswith("numpy"):
            _refuse_array_state(state)
        target.state = state
    elif not isinstance(target, dict):
        raise BrokenFile("sets a state on something that has none")


def _replaces_data(state: object) -> bool:
    """Whether torch would set a tensor's data from this state, or from a pair of attributes and slots."""
    parts = state if isinstance(state, tuple) else (state,)
    given = [part.get("data") for part in parts if isinstance(part, dict)]
    made = (one.maker.path for one in given if isinstance(one, Opaque))
    return any(isinstance(one, Tensor) for one in given) or any(path.startswith("torch.") for path in made)


def _refuse_dtype_state(dtype: Opaque, state: object) -> None:
    """Fields, or flags that hide an object, make numpy take bytes of the file for pointers."""
    code = dtype.args[0] if isinstance(dtype.args, tuple) and dtype.args else None
    flags = (63,) if isinstance(code, str) and code.lstrip("<>|=").startswith("O") else (0, 8)  # 8: of texts
    plain = isinstance(state, tuple) and len(state) >= 8 and state[2:5] == (None, None, None)
    if not plain or state[7] not in flags:  # type: ignore[index]
        raise UnsafeFile("make a numpy type of fields, or with flags of another one")


def _refuse_array_state(state: object) -> None:
    """(version, shape, type, order, objects or bytes): numpy reads as many objects as the shape says."""
    match state:
        case (*_, str() | bytes() | Global()):
            return
        case (*_, shape, _, _, list(objects)):
            if math.prod(_naturals(shape)) == sum(
                len(one) if isinstance(one, range) else 1 for one in objects
            ):
                return
    raise UnsafeFile("make a numpy array of objects that are not there")


def as_key(value: object) -> object:
    """A dictionary key that cannot be made slow or deep to hash; other keys count by identity.

    What is called to make a text would be the same key as that text, for torch alone.
    """
    if isinstance(value, Opaque) and value.maker.last in _TEXTS:
        raise UnsafeFile("name a part twice")
    if isinstance(value, _EXACT) or (isinstance(value, int) and abs(value) < _MOST_KEY):
        return value
    return Opaque(_KEY, value)


def fill(mapping: dict[object, object], pairs: list[object]) -> None:
    """Adds [key, value, key, value, ..] to a dictionary."""
    if len(pairs) % 2:
        raise BrokenFile("holds a dictionary with a key that has no value")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        mapping[as_key(key)] = value


def _mapping(args: tuple[object, ...], spend: Callable[[int], None]) -> dict[object, object]:
    """A dictionary from another one or from pairs; a default factory before them is ignored."""
    made: dict[object, object] = {}
    for source in args:
        if isinstance(source, dict | list | tuple):
            spend(120 * len(source))
        if isinstance(source, dict):
            made.update(source)
        elif isinstance(source, list | tuple):
            for pair in source:
                if not isinstance(pair, list | tuple) or len(pair) != 2:
                    raise BrokenFile("holds a dictionary with a key that has no value")
                made[as_key(pair[0])] = pair[1]
    return made


# ---------------------------------------------------------------------- tensors


def _tensor(function: Global, args: tuple[object, ...]) -> Tensor:
    """(storage, offset, size, stride, ..), in elements of the storage's type, or of the seventh argument."""
    if len(args) < 4 or not isinstance(args[0], Storage):
        raise BrokenFile("holds a tensor without a storage")
    storage, offset, size, stride = args[0], _natural(args[1]), _naturals(args[2]), _naturals(args[3])
    (kind,) = args[6:7] or (None,) if function.last.endswith("_v3") else (Global(storage.dtype),)
    if not isinstance(kind, Global) or kind.last not in ITEM_BYTES:
        raise BrokenFile("holds a tensor of no type that torch has")
    if len(size) != len(stride):
        raise BrokenFile("holds a tensor whose size and stride do not match")
    numel = math.prod(size)
    reach = sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if numel else 0
    item = ITEM_BYTES[kind.last]
    start, stop = offset * item, (offset + reach) * item
    if numel > _MOST_ELEMENTS or (numel and stop > storage.size):
        raise BrokenFile("holds a tensor that reaches past the end of its storage")
    return Tensor(storage, kind.last, start, stop, tuple(size), numel)


def _natural(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**62:
        raise BrokenFile("holds a tensor with a size that is not a number")
    return value


def _naturals(value: object) -> list[int]:
    if isinstance(value, Opaque) and value.maker.path == "torch.Size" and isinstance(value.args, tuple):
        value = value.args[0] if value.args else ()
    if not isinstance(value, tuple | list) or len(value) > 64:
        raise BrokenFile("holds a tensor with a size that is not a list of numbers")
    return [_natural(number) for number in value]


def _wrapped(function: Global, args: tuple[object, ...]) -> object:
    """A parameter is its data; anything else that is wrapped stays as it is."""
    if any(map(_replaces_data, args)):
        raise UnsafeFile("give a tensor other data than are checked")
    return args[0] if args and isinstance(args[0], Tensor) else Opaque(function, args)


# ---------------------------------------------------------------------- numbers and bytes


def _encoded(_: Global, args: tuple[object, ...]) -> object:
    """(text, "latin1"): how protocol 2 writes bytes."""
    match args:
        case (Long() as long, "latin1"):
            return long
        case (str(text), "latin1" | "latin-1" | "iso-8859-1"):
            return text.encode("latin1")
    raise BrokenFile("encodes text in a way that no checkpoint needs")


def _dtype(function: Global, args: tuple[object, ...]) -> object:
    """A plain type by its code; one of fields may hold objects."""
    code = args[0] if args else None
    if not isinstance(code, Global) and not (isinstance(code, str) and _DTYPE.fullmatch(code)):
        raise UnsafeFile("make a numpy type of fields")
    return Opaque(function, args)


def _scalar(function: Global, args: tuple[object, ...]) -> object:
    """(dtype, bytes): a numpy number, so that an epoch saved as one is still a number."""
    match args:
        case (Opaque(args=(str(code), *_), state=state), bytes(raw)) if re.fullmatch("[iuf][248]", code):
            order = ">" if isinstance(state, tuple) and len(state) > 1 and state[1] == ">" else "<"
            if len(raw) == int(code[1]):
                return struct.unpack(order + _STRUCT[code], raw)[0]
    return Opaque(function, args)


_STRUCT = {"i2": "h", "i4": "i", "i8": "q", "u2": "H", "u4": "I", "u8": "Q", "f2": "e", "f4": "f", "f8": "d"}


_METHODS = {
    "torch.optim.lr_scheduler.OneCycleLR": ("_annealing_cos", "_annealing_linear"),
    "mmengine.logging.history_buffer.HistoryBuffer": ("min", "max", "current", "mean"),
}


def _method(_: Global, args: tuple[object, ...]) -> object:
    """(object or class, name): a formula of the object's, in a form with which nothing can be done."""
    match args:
        case (Opaque(maker=Global(path=path)) | Global(path=path), str(name)):
            if name in _METHODS.get(path, ()):
                return args
    raise UnsafeFile("call builtins.getattr")


_REBUILDS: dict[str, Callable[[Global, tuple[object, ...]], object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": _wrapped,
    "torch._utils._rebuild_parameter_with_state": _wrapped,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _wrapped,
    "_codecs.encode": _encoded,
    "builtins.bytes": lambda function, args: Opaque(function, args) if args else b"",
    "builtins.getattr": _method,
    # (class, base, state): how protocols 0 and 1 make objects.
    "copyreg._reconstructor": lambda _, args: constructed(args[0] if args else None, args[2:]),
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}
