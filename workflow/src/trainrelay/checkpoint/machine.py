"""A pickle machine that cannot run code.

Python's own Unpickler, restricted by `find_class`, still hashes hostile keys (a deeply nested tuple ends
the process, a doubled one never ends), grows its memo to any index named in the file, and writes state
on shared classes. This one reads the same opcodes (by `pickletools`, which only parses) and builds data of
ours, so there is nothing to trick: no call, no import, no attribute is ever looked up. What it builds is
counted in bytes before it is built, copies too.
"""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Callable, Collection, Iterator
from sys import getsizeof
from typing import IO, Any

from trainrelay.checkpoint.allowed import is_allowed, today
from trainrelay.checkpoint.problems import BrokenFile, OtherFormat, UnsafeFile, shown
from trainrelay.checkpoint.rebuild import called, constructed, fill, set_state
from trainrelay.checkpoint.values import Global, Long, Opaque, Storage, Tensor

MOST_BYTES = 46_000_000  # a checkpoint needs about 1300 for each tensor
MOST_OPCODES = 3_000_000  # some seconds; a checkpoint needs about 30 for each tensor
_SHOWN = 3  # globals in one sentence
_LONGEST = 4096  # bytes of one text or number; what is longer is never looked at

_AHEAD = 16_384  # bytes; picklers write batches of 1000 items
_NUMBER = re.compile(rb"G.{8}|J.{4}|M..|K.|[N\x88\x89]", re.DOTALL)
_BATCH = re.compile(rb"((?:%b){65,})[e\x90]" % _NUMBER.pattern, re.DOTALL)  # no size or stride is that long

LoadStorage = Callable[[object], object]


def unpickle(stream: IO[bytes], load_storage: LoadStorage, classes: Collection[str] = ()) -> object:
    """The data of a pickle; `load_storage` answers its persistent ids. Raises BrokenFile or UnsafeFile.

    `classes` are allowed as well: a.B, or a.* for objects of a package's. What that package imports has such
    names too, as a.run: what is called has to be named itself.
    """
    machine, source = _Machine(load_storage, classes), _Stream(stream)
    try:
        for opcode, argument in _opcodes(source):
            if opcode == "MARK" and machine.is_list_on_top() and (count := source.numbers()):
                machine.push(range(count))  # in place of so many items
                machine.step("APPEND", None)
            else:
                machine.step(opcode, argument)
        root = machine.pop()
    except BrokenFile:
        if not machine.refused:
            raise
    except (ValueError, OverflowError, MemoryError, OSError) as error:
        raise BrokenFile(f"holds a damaged pickle ({shown(str(error))})") from error
    if machine.refused:
        names = list(machine.refused)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise UnsafeFile(
            f"call {', '.join(map(shown, names[:_SHOWN]))}{more}",
            tuple(map("".join, machine.refused.items())),
        )
    return root


def calls_nothing(stream: IO[bytes]) -> bool:
    """Whether no pickle in a stream, one after the other, reaches code: most other files are none at all."""
    source = _Stream(stream)
    try:
        while not any(opcode in _REACHING for opcode, _ in _opcodes(source)):
            pass
    except (BrokenFile, ValueError, OverflowError) as problem:
        return str(problem) != _TOO_MUCH
    return False


class _TooLong(Exception):
    """A text or number was passed over."""


class _Stream:
    """What pickletools reads from: nothing long is ever in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.name = stream, str(getattr(stream, "name", "long text"))

    def read(self, count: int) -> bytes:
        if count <= _LONGEST:
            return self._stream.read(count)
        at = self._stream.tell()
        self._stream.seek(count, io.SEEK_CUR)
        raise _TooLong(at, count)

    def numbers(self) -> int:
        """Passes over a batch of items for a list where they are many and nothing but numbers; how many."""
        ahead = self._stream.read(_AHEAD)
        batch = _BATCH.match(ahead)
        self._stream.seek((batch.end() if batch else 0) - len(ahead), io.SEEK_CUR)
        return len(_NUMBER.findall(batch[1])) if batch else 0

    def readline(self) -> bytes:
        line = self._stream.readline(_LONGEST)
        if len(line) == _LONGEST:  # pickletools would take it for the end of the file
            raise BrokenFile(_TOO_MUCH)
        return line


def _opcodes(stream: Any) -> Iterator[tuple[str, Any]]:
    """Each opcode with its argument, to the end."""
    for _ in range(MOST_OPCODES):
        code = _CODES.get(stream.read(1))
        if code is None:
            raise BrokenFile("holds a damaged pickle (it does not end)")
        try:
            argument = code.arg.reader(stream) if code.arg else None
        except _TooLong as passed:
            at, size = passed.args
            argument = Long(stream.name, at, size, "UNICODE" in code.name)
        if code.name == "STOP":
            return
        yield code.name, argument
    raise BrokenFile(_TOO_MUCH)


class _Machine:
    """The stack, where its marks are, the memo, and the bytes of all that was made."""

    def __init__(self, load_storage: LoadStorage, classes: Collection[str]) -> None:
        self.load_storage, self.classes = load_storage, frozenset(classes)
        self.refused = dict[str, str]()  # globals, in order, with "()" behind what is called
        self.of_packages = set[str]()  # globals that are allowed only as others of their package
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: list[object] = []
        self.bytes = 0

    def step(self, opcode: str, argument: Any) -> None:
        """Runs one opcode; `argument` is what follows it in the pickle."""
        if opcode in _IGNORED:
            return
        if opcode in _LITERALS:
            self.push(argument)
        elif opcode in _CONSTANTS:
            self.push_counted(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            self.push(_EMPTY[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        else:
            raise BrokenFile(f"uses the pickle opcode {opcode}, which no checkpoint needs")

    def spend(self, count: int) -> None:
        """Counts bytes that are about to be made; the stack and its marks count as they are now."""
        self.bytes += count
        if self.bytes + 16 * (len(self.stack) + 4 * len(self.marks)) > MOST_BYTES:
            raise BrokenFile(_TOO_MUCH)

    def push(self, value: object) -> None:
        """Puts a new value on the stack."""
        self.spend(getsizeof(value) + _INSIDE.get(type(value), 0))
        self.stack.append(value)

    def push_counted(self, value: object) -> None:
        """Puts a value on the stack that was counted before."""
        self.spend(0)
        self.stack.append(value)

    def pop(self) -> object:
        value = self.top()
        self.stack.pop()
        return value

    def top(self) -> object:
        if self.nothing_above_mark():
            raise BrokenFile("holds a damaged pickle (its stack is empty)")
        return self.stack[-1]

    def nothing_above_mark(self) -> bool:
        """Whether nothing is above the last mark."""
        return len(self.stack) <= (self.marks[-1] if self.marks else 0)

    def is_list_on_top(self) -> bool:
        return not self.nothing_above_mark() and isinstance(self.stack[-1], list)

    def push_global(self, module: str, name: str) -> None:
        """The stand-in for a global. One outside the allow-list is noted; nothing is run of it either."""
        module, name = today(module, name)
        if (module, name) == ("torch._utils", "_rebuild_wrapper_subclass"):
            raise OtherFormat(_WRAPPED)
        path = f"{module}.{name}"
        above = (f"{'.'.join(module.split('.')[:end])}.*" for end in range(1, module.count(".") + 2))
        if not (is_allowed(module, name) or path in self.classes):
            # A dotted name leads through what the module imports.
            known = "." not in name and self.classes.intersection(above)
            (self.of_packages.add if known else lambda one: self.refused.setdefault(one, ""))(path)
        self.push(Global(path))

    def mark(self) -> None:
        self.spend(0)
        self.marks.append(len(self.stack))

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise BrokenFile("holds a damaged pickle (a mark is missing)")
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def pop_many(self, count: int) -> tuple[object, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))


# ---------------------------------------------------------------------- opcodes


def _pop(machine: _Machine, _: Any) -> None:
    if machine.nothing_above_mark():
        machine.pop_to_mark()
    else:
        machine.stack.pop()


def _extend(machine: _Machine, items: list[object]) -> None:
    target = machine.top()
    machine.spend(_SLOT * len(items))
    if isinstance(target, Opaque):
        target.items.extend(items)
    elif isinstance(target, list):
        target.extend(items)
    else:
        raise BrokenFile("adds items to something that is not a list")


def _set(machine: _Machine, pairs: list[object]) -> None:
    target = machine.top()
    machine.spend(_PAIR * len(pairs))
    if isinstance(target, Opaque):
        target.items.extend(pairs)
    elif isinstance(target, dict):
        fill(target, pairs)
    else:
        raise BrokenFile("sets items of something that is not a dictionary")


def _dict(machine: _Machine, _: Any) -> None:
    pairs = machine.pop_to_mark()
    machine.push({})
    _set(machine, pairs)


def _remember(machine: _Machine, index: Any) -> None:
    """Every pickler numbers what it stores one after the other."""
    place = len(machine.memo) if index is None else index
    if not isinstance(place, int) or not 0 <= place <= len(machine.memo):
        raise BrokenFile("holds a damaged pickle (it stores out of order)")
    machine.spend(_SLOT)
    machine.memo[place : place + 1] = [machine.top()]


def _recall(machine: _Machine, index: Any) -> None:
    if not isinstance(index, int) or not 0 <= index < len(machine.memo):
        raise BrokenFile("holds a damaged pickle (it recalls what it never stored)")
    machine.push_counted(machine.memo[index])


def _stack_global(machine: _Machine, _: Any) -> None:
    module, name = machine.pop_many(2)
    if not isinstance(module, str) or not isinstance(name, str):
        raise BrokenFile("names a global that is not text")
    machine.push_global(module, name)


def _reduce(machine: _Machine, _: Any) -> None:
    function, args = machine.pop_many(2)
    if isinstance(function, Global) and function.path in {*machine.of_packages, *machine.refused}:
        machine.refused[function.path] = "()"
    machine.push(called(function, args, machine.spend))


def _build(machine: _Machine, _: Any) -> None:
    state = machine.pop()
    set_state(machine.top(), state)


def _newobj_ex(machine: _Machine, _: Any) -> None:
    cls, args, named = machine.pop_many(3)
    machine.push(constructed(cls, (*args, named) if isinstance(args, tuple) else args))


_WRAPPED = "holds wrapped tensors (as DTensor; where ranks save parts: get_state_dict, full_state_dict=True)"
_TOO_MUCH = "holds more objects than any checkpoint does"
_SLOT, _PAIR = 20, 60  # bytes for one more item of a growing list; for a key or a value of a dictionary
# Beyond what getsizeof sees.
_INSIDE: dict[type, int] = {Opaque: 120, Tensor: 180, Storage: 60, Global: 120, Long: 160}
_CODES = {code.code.encode("latin1"): code for code in pickletools.opcodes}
_IGNORED = frozenset({"PROTO", "FRAME"})
_REACHING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"})

_OTHERS: tuple[list[Any], ...] = ([], [pickletools.anyobject])
_LITERALS = {code.name for code in pickletools.opcodes if code.arg and code.stack_after not in _OTHERS}
_CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}

# A set is read as a list: nothing of ours asks what is in it, and a list hashes nothing.
_EMPTY: dict[str, Callable[[], object]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}

_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "MARK": lambda machine, _: machine.mark(),
    "POP": _pop,
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.push_counted(machine.top()),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "FROZENSET": lambda machine, _: machine.push(machine.pop_to_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push(machine.pop_many(1)),
    "TUPLE2": lambda machine, _: machine.push(machine.pop_many(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.pop_many(3)),
    "DICT": _dict,
    "APPEND": lambda machine, _: _extend(machine, [machine.pop()]),
    **dict.fromkeys(["APPENDS", "ADDITEMS"], lambda machine, _: _extend(machine, machine.pop_to_mark())),
    "SETITEM": lambda machine, _: _set(machine, list(machine.pop_many(2))),
    "SETITEMS": lambda machine, _: _set(machine, machine.pop_to_mark()),
    **dict.fromkeys(["PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"], _remember),
    **dict.fromkeys(["GET", "BINGET", "LONG_BINGET"], _recall),
    "GLOBAL": lambda machine, named: machine.push_global(*named.split(" ", 1)),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "NEWOBJ": lambda machine, _: machine.push(constructed(*machine.pop_many(2))),
    "NEWOBJ_EX": _newobj_ex,
    "BINPERSID": lambda machine, _: machine.push(machine.load_storage(machine.pop())),
}
