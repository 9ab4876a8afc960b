"""What Python code says of its names, read statement by statement and never executed: literals as values.

What only running it would tell stays text: an expression with the values that it is made from, code, and
the digests of the files that code imports or names.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from trainrelay.system.files import read_once

_LONGEST = 160  # characters of one setting's text; longer ones are cut and digested
_MOST = 100_000  # values in one expression: lists of names of lists could make it endless
_LARGEST = 1_000_000  # bytes of a file that code names; of a larger one only the size counts
_READ = (".py", ".json", ".yaml", ".yml")
# Calls of these leave what they are given as it is, and mean the same in every file.
_PURE = frozenset(
    {"dict", "len", "max", "min", "sum", "sorted", "range", "int", "float", "str", "abs", "round"}
)


Folders = Sequence[Path]


class SourceText(str):
    """A value that only running the code would tell, as text."""

    __slots__ = ()
    __repr__ = str.__str__


ABSENT = SourceText("(absent)")
# Of each statement, once: each of a script's hundred arguments asks this of all that it imports.
_CHANGED: WeakKeyDictionary[ast.stmt, set[str]] = WeakKeyDictionary()


class Names:
    """What the names of one file hold, statement by statement; what it reads is looked for in `folders`."""

    def __init__(
        self, file: str, code: Sequence[ast.stmt], folders: Folders, bases: Mapping[str, Any] | None = None
    ) -> None:
        self.held: dict[str, Any] = {}
        self._file, self._folders, self._bases = file, folders, bases or {}
        self._wanted = names_wanted([node for one in code for node in ast.walk(one)])
        for statement in code:
            self.take(statement)

    def take(self, statement: ast.stmt) -> None:
        """What the names hold after the next statement."""
        names = targets(statement)
        if names and not self._leaves_traces(statement):
            self._assign(names, self.value(statement.value))  # type: ignore[attr-defined]
        elif names_in(statement):  # a docstring has none
            self._run(statement)

    def _leaves_traces(self, statement: ast.stmt) -> bool:
        """Whether an assignment does more: binds other names, calls something with what can change."""
        nodes = list(ast.walk(statement))
        calls = any(isinstance(node, ast.Call) and names_in(node.func) - _PURE for node in nodes)
        walrus = any(isinstance(node, ast.NamedExpr) for node in nodes)
        return walrus or (calls and self._changeable(names_in(statement)))

    def _assign(self, names: list[str], value: Any) -> None:
        for name in names:
            before = self.held.get(name)
            if any(isinstance(part, SourceText) and part.endswith(self._file) for part in _parts(before)):
                self.held[f"{name}{self._number()}"] = before  # what running it did may last
            self.held[name] = value

    def _number(self) -> str:
        return f"#{1 + sum('#' in key for key in [*self._bases, *self.held])}"

    def _run(self, statement: ast.stmt) -> None:
        """Code may change what it binds and, given anything that can be changed in place, whatever can be."""
        place = f"code{self._number()}"
        used, changed = names_in(statement), names_in(statement, bound=True)
        made_from = {f"{place}: {name}": self.held[name] for name in used & self.held.keys()}
        if "*" in used or self._changeable(used):
            changed |= {n for n in self.held if "#" not in n and ("*" in used or self._changeable({n}))}
        before = {name: _before(place, self.held.get(name, ABSENT)) for name in changed}
        self.held |= {**before, **made_from, place: self._text(ast.unparse(statement), statement)}

    def _changeable(self, names: set[str]) -> bool:
        return any(holds(self.held.get(name), dict, list, SourceText) for name in names)

    def value(self, node: ast.expr) -> Any:
        """What an expression gives after the code."""
        match node:
            case ast.Name(id=name) if name in self.held:
                return self.held[name]
            case ast.Constant(value=value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.List(elts=items) | ast.Tuple(elts=items):
                found: Any = [self.value(item) for item in items]
            case ast.Set(elts=[ast.Set(elts=[ast.Attribute() as variable])]):  # {{_base_.model.dims}}
                if (found := inside({"_base_": self._bases}, ast.unparse(variable))) is ABSENT:
                    return self._computed(node)
            case _:
                if (plain := entries(node)) is None:
                    return self._computed(node)
                found = {name: self.value(entry) for name, entry in plain.items()}
        return bounded(found, f"line {node.lineno}")

    def _computed(self, node: ast.AST) -> SourceText:
        used = names_in(node) - _PURE
        held = sorted(used & self.held.keys())
        made_from = ", ".join(f"{name} = {cut(repr(self.held[name]))}" for name in held)
        told = ast.unparse(node) + (f" with {made_from}" if made_from else "")
        return self._text(told, node, placed=len(held) < len(used))

    def _text(self, told: str, node: ast.AST, *, placed: bool = True) -> SourceText:
        files = files_read([node], self._folders, self._wanted)
        return SourceText(told + files + (f" in {self._file}" if placed else ""))


class Part(NamedTuple):
    """A file, what of its code is used, and where the files are that it uses itself."""

    path: Path
    tree: ast.Module
    used: list[ast.stmt]
    folders: Folders


def files_read(code: Iterable[ast.AST], folders: Folders, wanted: set[str]) -> str:
    """The files that some code uses, with the digests of what it uses, as the end of a text; or nothing."""
    parts = [part for part in imported(code, folders, wanted) if part.used]
    # Of the code as a tree: comments and formatting say nothing.
    files = [f"{one.path.name} {_digest(ast.unparse(ast.Module(one.used, [])))}" for one in parts]
    return f" which reads {cut(', '.join(files))}" if files else ""


def imported(
    code: Iterable[ast.AST],
    folders: Folders,
    wanted: set[str],
    seen: set[Path] | None = None,
    about: bytes = b"",
) -> Iterator[Part]:
    """The files in the folders that code names, or imports from: of these what the wanted names depend on.
    Then theirs. `about`: only modules with it in them, and packages."""
    nodes = [node for one in code for node in ast.walk(one)]
    wanted = wanted | names_wanted(nodes)
    seen = set() if seen is None else seen
    for name in dict.fromkeys(name for node in nodes for name in mentioned(node)):
        for path in found_files(name, folders):
            named = name.endswith(_READ)
            if path in seen or (about and (named or not _tells(path, about))):
                continue
            seen.add(path)
            tree, beside = read_once(parsed, path), (path.parent, *folders)
            used = tree.body if named else depended_on(tree.body, wanted)
            yield Part(path, tree, used, beside)
            yield from imported(used, beside, wanted, seen, about)


def _tells(path: Path, about: bytes) -> bool:
    return path.name == "__init__.py" or about in path.read_bytes()


def names_wanted(nodes: Sequence[ast.AST]) -> set[str]:
    """What code may take from modules: what it imports, attributes, and after `import *` any name."""
    found = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    found |= {node.name for node in nodes if isinstance(node, ast.alias)}
    return found | {node.id for node in nodes if isinstance(node, ast.Name) and "*" in found}


def mentioned(node: ast.AST) -> Iterator[str]:
    """Modules that a part of code imports, the packages that they are in first, or the file that it names."""
    modules: list[str] = []
    match node:
        case ast.Import(names=names):
            modules = [alias.name for alias in names]
        case ast.ImportFrom(module=module, level=level, names=names):
            base = f"{'.' * level}{module or ''}"
            modules = [base, *(f"{base}{'.' if module else ''}{alias.name}" for alias in names)]
        case ast.Constant(value=str(text)) if text.endswith(_READ):
            yield text
    for steps in (module.split(".") for module in modules):
        yield from (".".join(steps[: n + 1]) for n in range(len(steps)) if steps[n])


def found_files(name: str, folders: Folders) -> Iterator[Path]:
    """Those that the name of a module or file leads to; a relative module is in the first folder only."""
    dots = len(name) - len(name.lstrip("."))
    stem = "../" * (dots - 1) + name[dots:].replace(".", "/")
    tails = [name] if name.endswith(_READ) else [f"{stem}.py", f"{stem}/__init__.py"]
    tried = [os.path.normpath(folder / tail) for folder in folders[: 1 if dots else None] for tail in tails]
    for path in dict.fromkeys(tried):
        # Unlike Path.is_file, this takes names that no file can have.
        if os.path.isfile(path) and os.access(path, os.R_OK):  # noqa: PTH113
            yield Path(path)


def parsed(path: Path) -> ast.Module:
    """A file as code; one that is none, or too large for it, as its bytes or size."""
    size = path.stat().st_size
    text = path.read_bytes() if size <= _LARGEST else b"%d bytes" % size
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([ast.Expr(ast.Constant(text))], [])


def depended_on(code: Sequence[ast.stmt], names: set[str]) -> list[ast.stmt]:
    """The statements that what some names hold depends on, in their order."""
    kept: set[ast.stmt] = set()
    while more := {one for one in code if one not in kept and _changed(one) & (names | {"*"})}:
        kept |= more
        names = names.union(*map(names_in, more))
    return [statement for statement in code if statement in kept]


def _changed(statement: ast.stmt) -> set[str]:
    """The names that a statement binds, gives another name or may change in place."""
    if (known := _CHANGED.get(statement)) is None:
        _CHANGED[statement] = known = _looked_up(statement)
    return known


def _looked_up(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}.union(*(node.names for node in ast.walk(statement) if isinstance(node, ast.Global)))
        case ast.Assign(value=ast.Name(id=name)):
            return {name} | names_in(statement, bound=True)
        case ast.Expr():
            return names_in(statement)
    stored = (n for n in ast.walk(statement) if isinstance(getattr(n, "ctx", None), ast.Store | ast.Del))
    return names_in(statement, bound=True).union(*map(names_in, stored))


def targets(statement: ast.stmt) -> list[str]:
    """The names that a plain assignment sets; none for anything else."""
    found = statement.targets if isinstance(statement, ast.Assign) else []
    names = [target.id for target in found if isinstance(target, ast.Name)]
    return names if len(names) == len(found) else []


def entries(value: ast.expr) -> dict[str, ast.expr] | None:
    """The entries of a dict(...) or {...} whose keys are plain; None for anything else."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
        named = {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg is not None}
        return named if not value.args and len(named) == len(value.keywords) else None
    if isinstance(value, ast.Dict):
        keys = [key.value for key in value.keys if isinstance(key, ast.Constant)]
        plain = len(keys) == len(value.keys) and all(isinstance(key, str) for key in keys)
        return dict(zip(map(str, keys), value.values, strict=True)) if plain else None
    return None


def names_in(node: ast.AST, *, bound: bool = False) -> set[str]:
    """Every name that a piece of code mentions, or only those that it binds."""
    nodes = [n for n in ast.walk(node) if not (bound and isinstance(getattr(n, "ctx", None), ast.Load))]
    found = (getattr(n, "asname", None) or getattr(n, "name", None) or getattr(n, "id", None) for n in nodes)
    return {str(name).split(".")[0] for name in found if name}


def _before(place: str, value: Any) -> Any:
    """What a value was before code that may have changed it."""
    if isinstance(value, dict):
        spoilt = {key: _before(place, entry) for key, entry in value.items()}
        return {**spoilt, "_code_": SourceText(f" before {place}")}
    return SourceText(f"{value!r} before {place}")


def _parts(value: Any) -> Iterator[Any]:
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _parts(part)


def holds(value: Any, *kinds: type) -> bool:
    return any(isinstance(part, kinds) for part in _parts(value))


def bounded(value: Any, where: str) -> Any:
    """A value that is not too large to be looked through."""
    if sum(1 for _ in islice(_parts(value), _MOST + 1)) > _MOST:
        raise ValueError(f"{where} holds too much")
    return value


def inside(value: Any, path: str) -> Any:
    """What is at a dotted path; ABSENT where nothing is known to be."""
    for step in path.split("."):
        if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
            continue
        value = value.get(step, ABSENT) if isinstance(value, dict) and "_own_" not in value else ABSENT
    return value


def cut(text: str) -> str:
    """A text, or the beginning of a long one and its digest."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... {_digest(text)}"


def _digest(text: str) -> str:
    return f"(sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]})"
