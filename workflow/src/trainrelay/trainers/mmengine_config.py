"""mmengine configs, read as syntax trees and never executed: those with `_base_`, as mmcv's, and those
that import classes, and bases `with read_base():`, where an assignment replaces, and `update` changes."""

from __future__ import annotations

import ast
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

from trainrelay.system.files import read_once
from trainrelay.trainers import mmcv_config
from trainrelay.trainers.mmcv_values import merged
from trainrelay.trainers.python_values import Names, found_files, targets


def values_of(own: Path, root: Path) -> dict[str, Any]:
    """What a config says with its bases, relative to the checkout."""
    body = read_once(mmcv_config.config_tree, own).body
    imports = any(isinstance(one, ast.Import | ast.ImportFrom) for one in body)
    if not imports or any("_base_" in targets(one) for one in body):
        return mmcv_config.chain_values(own, root)
    said = _Imported(own, own, root)
    return {name: value for name, value in said.held.items() if name not in said.imported}


def _imports_bases(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.With) and ast.unparse(statement.items[0]) == "read_base()"


class _Imported(Names):
    """What the names of a file hold that may import its bases. `imported`: those of classes and modules."""

    def __init__(self, path: Path, own: Path, root: Path, above: tuple[Path, ...] = ()) -> None:
        if path in above:
            raise ValueError(f"read_base of {path.name} leads back to itself")
        self.imported: set[str] = set()
        self._of_bases: set[str] = set()
        self._own, self._root, self._above = own, root, (*above, path)
        body = read_once(mmcv_config.config_tree, path).body
        super().__init__(mmcv_config.label(path, own), body, (path.parent, root))

    def take(self, statement: ast.stmt) -> None:
        """A class or module that is imported is its name, as mmengine takes it."""
        self._of_bases.difference_update(targets(statement))
        match statement:
            case ast.With(body=body) if len(bases := self._bases_in(statement)) == len(body):
                for base, path in bases:
                    self._take_base(base, path)
            case ast.ImportFrom(module=module, level=level, names=names) if names[0].name != "*":
                self._name({one: f"{'.' * level}{module or ''}.{one.name}" for one in names})
            case ast.Import(names=names):
                self._name({one: one.name for one in names if one.asname or "." not in one.name})
            case ast.Expr(ast.Call(ast.Attribute(ast.Name(name), "update" | "merge" as how)) as call):
                if not self._changed(name, how, call):
                    super().take(statement)
            case _:
                super().take(statement)

    def _name(self, names: dict[ast.alias, str]) -> None:
        held = {one.asname or one.name: path for one, path in names.items()}
        self.held |= held
        self.imported |= held.keys()

    def _bases_in(self, statement: ast.With) -> list[tuple[ast.ImportFrom, Path]]:
        """Without those whose package is installed elsewhere."""
        imports = [one for one in statement.body if isinstance(one, ast.ImportFrom)]
        found = [(one, found_files(f"{'.' * one.level}{one.module}", self._folders)) for one in imports]
        return [(one, path) for one, paths in found if _imports_bases(statement) for path in [*paths][:1]]

    def _take_base(self, base: ast.ImportFrom, path: Path) -> None:
        said = _Imported(Path(os.path.realpath(path)), self._own, self._root, self._above)
        names = {one.name: one.asname or one.name for one in base.names}
        for name, value in said.held.items():
            if "#" in name:  # code that was run
                self.held[f"{path.name}: {name}"] = value
            elif name in names or "*" in names:
                new = names.get(name, name)
                self.held[new] = deepcopy(value)  # mmengine copies: what shared a part there no longer does
                self._of_bases.add(new)
                self.imported |= {new} if name in said.imported else set()

    def _changed(self, name: str, how: str, call: ast.Call) -> bool:
        """Whether an `update` or `merge` of a dictionary could be done with its values alone.

        That of a base is one of mmengine's, whose `update` goes into the dictionaries inside.
        """
        held = self.held.get(name)
        over = [*map(self.value, call.args), {word.arg: self.value(word.value) for word in call.keywords}]
        plain = all(isinstance(one, dict) and None not in one for one in over)
        deletes = how == "update" and "_delete_" in repr(over)
        if not plain or deletes or not isinstance(held, dict) or "_code_" in repr(held):
            return False
        for one in over:
            new = merged(one, held) if how == "merge" or name in self._of_bases else {**held, **one}
            held.clear()
            held.update(new)
        return True
