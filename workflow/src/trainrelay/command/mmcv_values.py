"""The values that a chain of mmcv configs ends with, merged as mmcv's Config does, nothing executed.

What only running a file would tell stays text: an expression with the values that it is made from, and code.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from itertools import islice
from typing import Any

from trainrelay.command.base import Option, meant

_LONGEST = 160  # characters of one setting's text; longer ones are cut and digested
_MOST = 100_000  # values in one expression: lists of names of lists could make it endless
# Calls of these leave what they are given as it is, and mean the same in every file.
_PURE = frozenset(
    {"dict", "len", "max", "min", "sum", "sorted", "range", "int", "float", "str", "abs", "round"}
)


class Computed(str):
    """A value that only running the config would tell, as text."""

    __slots__ = ()
    __repr__ = str.__str__


_ABSENT = Computed("(absent)")


def values_of(files: Iterable[tuple[str, ast.Module]]) -> dict[str, Any]:
    """What the files of a chain merge to, bases first."""
    values: dict[str, Any] = {}
    for name, tree in files:
        own = _File(name, tree, values).names
        values = _merged({k: v for k, v in own.items() if k != "_base_" and k[:2] != "__"}, values)
    return values


class _File:
    """What the names of one file hold, statement by statement."""

    def __init__(self, file: str, tree: ast.Module, bases: Mapping[str, Any]) -> None:
        self.names: dict[str, Any] = {}
        self._file, self._bases = file, bases
        for statement in tree.body:
            names = targets(statement)
            if names and not self._leaves_traces(statement):
                self._assign(names, self._value(statement.value))  # type: ignore[attr-defined]
            elif _names(statement):  # a docstring has none
                self._run(statement)

    def _leaves_traces(self, statement: ast.stmt) -> bool:
        """Whether an assignment does more: binds other names, calls something with what can change."""
        nodes = list(ast.walk(statement))
        calls = any(isinstance(node, ast.Call) and _names(node.func) - _PURE for node in nodes)
        walrus = any(isinstance(node, ast.NamedExpr) for node in nodes)
        return walrus or (calls and self._changeable(_names(statement)))

    def _assign(self, names: list[str], value: Any) -> None:
        for name in names:
            before = self.names.get(name)
            if any(isinstance(part, Computed) and part.endswith(self._file) for part in _parts(before)):
                self.names[f"{name}{self._number()}"] = before  # what running it did may last
            self.names[name] = value

    def _number(self) -> str:
        return f"#{1 + sum('#' in key for key in [*self._bases, *self.names])}"

    def _run(self, statement: ast.stmt) -> None:
        """Code may change what it binds and, given anything that can be changed in place, whatever can be."""
        place = f"code{self._number()}"
        used, changed = _names(statement), _names(statement, bound=True)
        made_from = {f"{place}: {name}": self.names[name] for name in used & self.names.keys()}
        if "*" in used or self._changeable(used):
            changed |= {n for n in self.names if "#" not in n and ("*" in used or self._changeable({n}))}
        before = {name: _before(place, self.names.get(name, _ABSENT)) for name in changed}
        self.names |= {**before, **made_from, place: Computed(f"{ast.unparse(statement)} in {self._file}")}

    def _changeable(self, names: set[str]) -> bool:
        return any(_holds(self.names.get(name), dict, list, Computed) for name in names)

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Constant(value=value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.List(elts=items) | ast.Tuple(elts=items):
                found: Any = [self._value(item) for item in items]
            case ast.Set(elts=[ast.Set(elts=[ast.Attribute() as variable])]):  # {{_base_.model.dims}}
                found = _inside({"_base_": self._bases}, ast.unparse(variable))
            case _:
                found = {name: self._value(entry) for name, entry in entries(node).items()} or _ABSENT
        if sum(1 for _ in islice(_parts(found), _MOST + 1)) > _MOST:
            raise ValueError(f"line {node.lineno} holds too much")
        return self._computed(node) if found is _ABSENT else found

    def _computed(self, node: ast.AST) -> Computed:
        used = _names(node) - _PURE
        held = sorted(used & self.names.keys())
        made_from = ", ".join(f"{name} = {cut(repr(self.names[name]))}" for name in held)
        told = ast.unparse(node) + (f" with {made_from}" if made_from else "")
        return Computed(f"{told} in {self._file}" if len(held) < len(used) else told)


def targets(statement: ast.stmt) -> list[str]:
    """The names that a plain assignment sets; none for anything else."""
    found = statement.targets if isinstance(statement, ast.Assign) else []
    names = [target.id for target in found if isinstance(target, ast.Name)]
    return names if len(names) == len(found) else []


def entries(value: ast.expr) -> dict[str, ast.expr]:
    """The entries of a dict(...) or {...} whose keys are plain; empty for anything else."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
        named = {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg is not None}
        return named if not value.args and len(named) == len(value.keywords) else {}
    if isinstance(value, ast.Dict):
        keys = [key.value for key in value.keys if isinstance(key, ast.Constant)]
        plain = len(keys) == len(value.keys) and all(isinstance(key, str) for key in keys)
        return dict(zip(map(str, keys), value.values, strict=True)) if plain else {}
    return {}


def _names(node: ast.AST, *, bound: bool = False) -> set[str]:
    """Every name that a piece of code mentions, or only those that it binds."""
    nodes = [n for n in ast.walk(node) if not (bound and isinstance(getattr(n, "ctx", None), ast.Load))]
    found = (getattr(n, "asname", None) or getattr(n, "name", None) or getattr(n, "id", None) for n in nodes)
    return {str(name).split(".")[0] for name in found if name}


def _before(place: str, value: Any) -> Any:
    """What a value was before code that may have changed it."""
    if isinstance(value, dict):
        spoilt = {key: _before(place, entry) for key, entry in value.items()}
        return {**spoilt, "_code_": Computed(f" before {place}")}
    return Computed(f"{value!r} before {place}")


def _parts(value: Any) -> Iterator[Any]:
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _parts(part)


def _holds(value: Any, *kinds: type) -> bool:
    return any(isinstance(part, kinds) for part in _parts(value))


def _merged(over: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A child's entries over the base's, key by key."""
    return {**base, **{key: _onto(value, base[key]) if key in base else value for key, value in over.items()}}


def _onto(value: Any, before: Any) -> Any:
    """A child's value on the base's; where only running them tells, both are kept."""
    kept = before if isinstance(before, dict) and "_own_" not in before else {"_base_": before}
    how = value.get("_code_", value.get("_delete_", False)) if isinstance(value, dict) else value
    if isinstance(how, Computed) and value != before:
        if isinstance(before, Computed):
            return Computed(f"{value} over {before}")
        if isinstance(before, dict) or " before code#" in how:  # merged, or put in its place, or not there
            return {**kept, "_own_": value}
    if not isinstance(value, dict):
        return value
    if isinstance(before, list) and _is_by_index(value, before):
        return [_onto(value[str(i)], entry) if str(i) in value else entry for i, entry in enumerate(before)]
    over = {key: entry for key, entry in value.items() if key != "_delete_"}
    if how or not isinstance(before, dict | Computed):
        return over
    return _merged(over, kept)


def _is_by_index(value: Mapping[str, Any], before: list[Any]) -> bool:
    """Whether entries of a list are named by their number, as `pipeline.1.scale` does."""
    return bool(value) and all(key.isdecimal() and int(key) < len(before) for key in map(str, value))


def with_options(values: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    """The values after a stage's options; one that means what is there already leaves it as it is."""
    for key, option in options.items():
        found = _inside(values, key)
        if isinstance(found, dict | Computed) or meant(found) != meant(option):
            steps = reversed(key.split("."))
            values = _merged(reduce(lambda inner, step: {step: inner}, steps, _typed(option)), values)
    return dict(values)


def _typed(option: Option) -> Any:
    """An option as mmcv takes it from its command line."""
    try:
        return ast.literal_eval(meant(option))
    except (ValueError, SyntaxError):
        return option


def _inside(value: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
            continue
        value = value.get(step, _ABSENT) if isinstance(value, dict) and "_own_" not in value else _ABSENT
    return value


def flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Dotted keys and values as text; a key with a dot stands in brackets."""
    if not isinstance(value, dict):
        yield key.replace(": .", ": "), cut(repr(value))
        return
    for name, entry in value.items():
        yield from flat(entry, f"{key}.{f'[{name!r}]' if '.' in name else name}")


def cut(text: str) -> str:
    """A text, or the beginning of a long one and its digest."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... (sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]})"
