"""A pickle machine that cannot run code.

Python's own Unpickler, restricted by `find_class`, still hashes hostile keys (a deeply nested tuple ends
the process, a doubled one never ends), grows its memo to any index named in the file, and writes state
on shared classes. This one reads the same opcodes (`pickletools.genops`, which only parses) and builds
data of ours, so there is nothing to trick: no call, no import, no attribute is ever looked up.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

from trainrelay.checkpoint.allowed import is_allowed, today
from trainrelay.checkpoint.problems import Broken, Unsafe, shown
from trainrelay.checkpoint.rebuild import as_key, called, constructed, fill, set_state
from trainrelay.checkpoint.values import Global, Opaque

MOST_OPCODES = 5_000_000  # half a minute; a checkpoint needs about 30 for each tensor

LoadStorage = Callable[[object], object]


def unpickle(data: bytes, load_storage: LoadStorage) -> object:
    """The data of a pickle; `load_storage` answers its persistent ids. Raises Broken or Unsafe."""
    machine = _Machine(load_storage)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MOST_OPCODES:
                raise Broken("holds more objects than any checkpoint does")
            machine.step(opcode.name, argument)
        return machine.pop()
    except (ValueError, OverflowError, MemoryError) as error:
        raise Broken(f"holds a damaged pickle ({shown(str(error))})") from error


def global_named(module: str, name: str) -> Global:
    """The stand-in for a global of the allow-list; Unsafe for every other one."""
    module, name = today(module, name)
    if not is_allowed(module, name):
        raise Unsafe(f"call {shown(f'{module}.{name}')}")
    return Global(f"{module}.{name}")


class _Machine:
    """The stack, the stacks below each mark, and the memo."""

    def __init__(self, load_storage: LoadStorage) -> None:
        self.load_storage = load_storage
        self.stack: list[object] = []
        self.below: list[list[object]] = []
        self.memo: dict[object, object] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Runs one opcode; `argument` is what stands beside it in the pickle."""
        if opcode in _IGNORED:
            return
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        else:
            raise Broken(f"uses the pickle opcode {opcode}, which no checkpoint needs")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise Broken("holds a damaged pickle (its stack is empty)")
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            raise Broken("holds a damaged pickle (its stack is empty)")
        return self.stack[-1]

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[object]:
        if not self.below:
            raise Broken("holds a damaged pickle (a mark is missing)")
        items, self.stack = self.stack, self.below.pop()
        return items

    def pop_many(self, count: int) -> tuple[object, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))


# ---------------------------------------------------------------------- opcodes


def _pop(machine: _Machine, _: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_to_mark()


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.pop_to_mark()


def _append(machine: _Machine, _: Any) -> None:
    _extend(machine, [machine.pop()])


def _appends(machine: _Machine, _: Any) -> None:
    _extend(machine, machine.pop_to_mark())


def _extend(machine: _Machine, items: list[object]) -> None:
    target = machine.top()
    if isinstance(target, Opaque):
        target.items.extend(items)
    elif isinstance(target, list):
        target.extend(items)
    else:
        raise Broken("adds items to something that is not a list")


def _set_item(machine: _Machine, _: Any) -> None:
    _set(machine, list(machine.pop_many(2)))


def _set_items(machine: _Machine, _: Any) -> None:
    _set(machine, machine.pop_to_mark())


def _set(machine: _Machine, pairs: list[object]) -> None:
    target = machine.top()
    if isinstance(target, Opaque):
        target.items.extend(pairs)
    elif isinstance(target, dict):
        fill(target, pairs)
    else:
        raise Broken("sets items of something that is not a dictionary")


def _dict(machine: _Machine, _: Any) -> None:
    made: dict[object, object] = {}
    fill(made, machine.pop_to_mark())
    machine.push(made)


def _remember(machine: _Machine, index: Any) -> None:
    machine.memo[len(machine.memo) if index is None else as_key(index)] = machine.top()


def _recall(machine: _Machine, index: Any) -> None:
    if index not in machine.memo:
        raise Broken("holds a damaged pickle (it recalls what it never stored)")
    machine.push(machine.memo[index])


def _global(machine: _Machine, named: Any) -> None:
    module, _, name = named.partition(" ")
    machine.push(global_named(module, name))


def _stack_global(machine: _Machine, _: Any) -> None:
    module, name = machine.pop_many(2)
    if not isinstance(module, str) or not isinstance(name, str):
        raise Broken("names a global that is not text")
    machine.push(global_named(module, name))


def _reduce(machine: _Machine, _: Any) -> None:
    function, args = machine.pop_many(2)
    machine.push(called(function, args))


def _build(machine: _Machine, _: Any) -> None:
    state = machine.pop()
    set_state(machine.top(), state)


def _inst(machine: _Machine, named: Any) -> None:
    module, _, name = named.partition(" ")
    machine.push(called(global_named(module, name), tuple(machine.pop_to_mark())))


def _obj(machine: _Machine, _: Any) -> None:
    items = machine.pop_to_mark()
    machine.push(called(items[0] if items else None, tuple(items[1:])))


def _newobj(machine: _Machine, _: Any) -> None:
    cls, args = machine.pop_many(2)
    machine.push(constructed(cls, args))


def _newobj_ex(machine: _Machine, _: Any) -> None:
    cls, args, named = machine.pop_many(3)
    machine.push(constructed(cls, (args, named)))


def _persistent(machine: _Machine, _: Any) -> None:
    machine.push(machine.load_storage(machine.pop()))


_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})

_NUMBERS = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"})
_TEXTS = frozenset(
    {
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
    }
)
_LITERALS = _NUMBERS | _TEXTS

# A set is read as a list: nothing of ours asks what is in it, and a list hashes nothing.
_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}

_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.mark(),
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda machine, _: machine.push(machine.top()),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "FROZENSET": lambda machine, _: machine.push(machine.pop_to_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push(machine.pop_many(1)),
    "TUPLE2": lambda machine, _: machine.push(machine.pop_many(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.pop_many(3)),
    "DICT": _dict,
    "APPEND": _append,
    "APPENDS": _appends,
    "ADDITEMS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    **dict.fromkeys(["PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"], _remember),
    **dict.fromkeys(["GET", "BINGET", "LONG_BINGET"], _recall),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "INST": _inst,
    "OBJ": _obj,
    "NEWOBJ": _newobj,
    "NEWOBJ_EX": _newobj_ex,
    "BINPERSID": _persistent,
}
