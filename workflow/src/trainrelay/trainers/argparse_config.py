"""The arguments that a training script declares with argparse, read as a syntax tree and never executed.

Scripts of DETR's family have no config file: their argument defaults are part of the training's identity,
wherever they are declared: in the script, or in files beside it that it imports.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainrelay.system.files import content, one_reading, read_once
from trainrelay.trainers.base import LaunchRequest, Switch, TrainerConfig
from trainrelay.trainers.python_values import (
    Names,
    Part,
    SourceText,
    cut,
    depended_on,
    files_read,
    holds,
    imported,
    names_in,
    parsed,
    targets,
)

_SETS = {"store_true": True, "store_false": False}
_OWN = Path("config")  # the script, whatever its name
_NONE = "declares no argument with add_argument"
WHOLE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_SAVE = re.compile(r"save(_(?!im|fig)\w+)?")
_EVERY = re.compile(r"\bepoch\b[^%]{0,80} % (?:args\.)?([\w.]+) == 0")
_Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class _Argument:
    """One `add_argument`. `default` is None where none is written, else its expression."""

    name: str  # as the trainer's own code calls it
    switch: Switch
    default: ast.expr | None

    @property
    def unsaid(self) -> bool | None:
        """What argparse takes where no default is written."""
        return None if self.switch.sets is None else not self.switch.sets


@dataclass(frozen=True, slots=True)
class _Call:
    """An `add_argument` or `set_defaults` in a module and functions of it, outermost first."""

    node: ast.Call
    around: tuple[_Scope, ...]
    part: Part

    def said(self) -> Iterator[tuple[str, Any]]:
        """The names of arguments and their defaults, those of what is not written out as text."""
        words = {word.arg: word.value for word in self.node.keywords if word.arg not in ("help", "metavar")}
        argument, more = _argument(self.node), words.get(None)
        if _declares(self.node) == "set_defaults":
            given = {name or "**": self.value(node) for name, node in words.items()}
            starred = given.pop("**") if isinstance(given.get("**"), dict) else {}
            yield from (given | starred).items()
        elif argument is None and not (self.node.args and isinstance(self.node.args[0], ast.Constant)):
            name = ", ".join(map(ast.unparse, self.node.args)) or "**"
            yield name, SourceText([*map(self.value, [*self.node.args, *words.values()])])
        elif argument is not None and argument.default is None and more is not None:
            yield argument.name, SourceText(self.value(more))
        elif argument is not None:
            yield argument.name, self.value(argument.default) if argument.default else argument.unsaid

    def value(self, node: ast.expr) -> Any:
        """What an expression gives here, else text with all code around that it depends on."""
        names = names_in(node)
        code = [*self._around()] if names else []
        if isinstance(node, ast.Name) and any(getattr(one, "name", None) == node.id for one in code):
            return SourceText(node.id)  # a function: code, as all that is done with the arguments
        code = [one for one in code if not (isinstance(one, ast.Expr) and _declares(one.value))]
        made_from = depended_on(code, names)
        value = Names(self.part.path.name, made_from, self.part.folders).value(node)
        is_set = [name for one in made_from for name in targets(one)]
        # What is set twice may be set after this call.
        if not holds(value, SourceText) and len(set(is_set)) == len(is_set):
            return value
        told = "; ".join(map(ast.unparse, [node, *made_from]))
        return SourceText(told + files_read([node, *made_from], self.part.folders, set()))

    def _around(self) -> Iterator[ast.stmt]:
        """The code of the module and the functions, and of those that call them: what they give counts as
        statements that set parameters."""
        scopes = list(self.around)
        for scope in scopes:
            if not isinstance(scope, ast.Module):
                called = [
                    one
                    for one in _within(self.around[0], scopes[:1])
                    if scope.name in vars(one[0].func).values()
                ]
                scopes += dict.fromkeys(one for _, inside in called for one in inside if one not in scopes)
                names = [ast.Name(n.arg, ast.Store()) for n in ast.walk(scope.args) if isinstance(n, ast.arg)]
                given = [ast.Lambda(scope.args, ast.Constant(None)), *(call for call, _ in called)]
                yield ast.fix_missing_locations(ast.Assign([*names], ast.Tuple(given, ast.Load())))
            yield from scope.body


@one_reading()
def read_arguments(root: Path, script: str) -> TrainerConfig:
    """What a script (relative to `root`) declares: each argument's default, and how it is spelled."""
    try:
        path = root / script
        tree = ast.parse(content(path), filename=script)
        calls = list(_calls(path, tree, root))
        defaults = _defaults(calls)
    except OSError as error:
        return TrainerConfig(problem=f"{error.filename or script}: {error.strerror or error}")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return TrainerConfig(problem=f"{script}: {error}")
    switches = {one.name: one.switch for call in calls if (one := _argument(call.node))}
    kinds = {name: switch.type for name, switch in switches.items()}
    files = [path if call.part.path == _OWN else call.part.path for call in calls]
    return TrainerConfig(
        settings={
            f"config: {name}": cut(typed_text(said, kinds.get(name))) for name, said in defaults.items()
        },
        literals={name: said for name, said in defaults.items() if not holds(said, SourceText)},
        switches=switches,
        declared_in=frozenset(map(os.path.realpath, files)),
        saves_every=_saves_every(tree),
        problem=None if switches else f"{script}: {_NONE}",
    )


def whole_load(request: LaunchRequest, torch: str) -> str | None:
    """Where a script loads its own checkpoints as torch no longer does if they hold more than weights."""
    refuses = tuple(map(int, re.findall(r"\d+", torch)[:2])) >= (2, 6)
    if not refuses or not request.trainer_config.switches or WHOLE in {*request.env, *os.environ}:
        return None
    where = read_once(_whole_load, Path(request.root), request.entry)
    said = f"{where}: torch.load without weights_only reads, since torch 2.6, only weights and plain values"
    more = "if the checkpoints hold more, as the args of DETR's family, a resume or a start from one fails"
    return where and f"{said}; {more}: set env: {{{WHOLE}: '1'}} under trainer"


def _whole_load(root: Path, script: str) -> str | None:
    """Where a script, or a file of the checkout that it imports, calls torch.load without weights_only."""
    path = root / script
    with contextlib.suppress(OSError, RecursionError):
        files = [(path, tree := parsed(path))]
        parts = imported([tree], (path.parent, root), set(), about=b"torch.load")
        for path, tree in (*files, *((part.path, part.tree) for part in parts)):
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                said = {word.arg for word in call.keywords}  # None: what ** gives
                if ast.unparse(call.func) == "torch.load" and not {"weights_only", None} & said:
                    return f"{os.path.relpath(path, root)}, line {call.lineno}"
    return None


def _calls(path: Path, tree: ast.Module, root: Path) -> Iterator[_Call]:
    """The calls in a script, and in what it imports from other files."""
    own = Part(_OWN, tree, tree.body, (path.parent, root))
    for part in (own, *imported(tree.body, own.folders, set(), {path}, about=b"add_argument")):
        calls = (call for one in part.used for call in _within(one, [part.tree]))
        yield from (_Call(node, around, part) for node, around in calls if _declares(node))


def _within(node: ast.AST, around: Sequence[_Scope]) -> Iterator[tuple[ast.Call, tuple[_Scope, ...]]]:
    """Each call with the module and the functions that it is in."""
    if isinstance(node, ast.Call):
        yield node, tuple(around)
    inside = (*around, node) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else around
    for child in ast.iter_child_nodes(node):
        yield from _within(child, inside)


def _defaults(calls: Sequence[_Call]) -> dict[str, Any]:
    """What is declared of each argument; where that is more than one thing, all as text."""
    said: dict[str, list[tuple[object, Any]]] = {}
    for call in calls:
        scope = call.around[-1]
        parser = (scope, ast.unparse(call.node.func.value))  # type: ignore[attr-defined]
        certain = any(isinstance(one, ast.Expr) and one.value is call.node for one in scope.body)
        for name, value in call.said():
            before = said.get(name, [])
            # set_defaults overrides all that was declared to the same parser.
            over = certain and _declares(call.node) == "set_defaults" and name != "**"
            over = over and all(told == parser for told, _ in before)
            said[name] = [*([] if over else before), (parser, value)]
    found = {name: {repr(value): value for _, value in all_of} for name, all_of in said.items()}
    return {
        name: one.popitem()[1] if len(one) == 1 else SourceText(" or ".join(one))
        for name, one in found.items()
    }


def _saves_every(tree: ast.Module) -> str | None:
    """The N of `if epoch % N == 0` around all that the loop over epochs saves, or 1; None: unknown."""
    loops = [n for n in ast.walk(tree) if isinstance(n, ast.For) and "epoch" in ast.unparse(n.target)]
    nodes = [node for loop in loops for node in ast.walk(loop)]
    called = [
        (n, getattr(n.func, "attr", getattr(n.func, "id", ""))) for n in nodes if isinstance(n, ast.Call)
    ]
    saves = {n for n, name in called if _SAVE.fullmatch(name) and ast.unparse(n.func) != "np.save"}
    found: dict[ast.AST, str] = {}
    for node in nodes:
        if isinstance(node, ast.If) and (every := _EVERY.search(ast.unparse(node.test))):
            found |= {inner: every[1] for one in node.body for inner in ast.walk(one) if inner in saves}
    every_n = {found.get(one, "1") for one in saves}
    return every_n.pop() if len(every_n) == 1 else None


def _declares(node: ast.AST) -> str:
    match node:
        case ast.Call(func=ast.Attribute(attr="add_argument" | "set_defaults" as name)):
            return name
    return ""


def _argument(call: ast.AST) -> _Argument | None:
    """None for positional arguments, for names that are not written out, and for anything else."""
    if not isinstance(call, ast.Call) or _declares(call) != "add_argument":
        return None
    flags = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    flag = next((flag for flag in flags if flag.startswith("--")), next(iter(flags), ""))
    if not flag.startswith("-"):
        return None
    words = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    dest, action = _constant(words.get("dest")), _constant(words.get("action"))
    name = dest if isinstance(dest, str) else flag.lstrip("-").replace("-", "_")
    many = _constant(words.get("nargs")) in ("+", "*") or isinstance(_constant(words.get("nargs")), int)
    kind = getattr(words.get("type"), "id", None)
    typed = kind if kind in ("int", "float") else None
    switch = Switch(flag, _SETS.get(str(action)), many, typed, _choices(words))
    return _Argument(name, switch, words.get("default"))


def _choices(words: Mapping[str, ast.expr]) -> tuple[str, ...]:
    node = words.get("choices")
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    found = tuple(str(item.value) for item in items if isinstance(item, ast.Constant))
    return found if len(found) == len(items) else ()


def typed_text(value: Any, kind: str | None) -> str:
    """The text of a value as a parser with `type` makes it: 5 and 5.0 are one float, but two texts."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(typed_text(item, kind) for item in value) + "]"
    if kind is not None and is_of_type(value, kind):
        return str(float(value) if kind == "float" else int(str(value)))
    return str(value)


def is_of_type(value: Any, kind: str) -> bool:
    """Whether a parser with `type=int` or `type=float` takes a value."""
    try:
        int(str(value)) if kind == "int" else float(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _constant(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None
