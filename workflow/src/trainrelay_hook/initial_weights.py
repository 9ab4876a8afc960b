"""What of the model came from the initial checkpoint: noted by rank 0 at the first optimizer step.

Seen is what torch.load read from that very file, and which of those tensors `Module._load_from_state_dict`
was given; torch's `load_state_dict`, mmcv's and mmengine's all call it. Other files do not count, and of the
loads of this one only that of a module which holds all that the first optimizer trains. Each rank judges its
own load. initial.json; where nothing was seen, share is null, and nothing is stopped:

    {"format": 1, "share": 0.83, "modules": [["img_backbone", 318, 318], ["occ_head", 0, 271]],
     "shapes": ["head.bias (10 in the file, 12 in the model)"], "left_over": [["old_head", 12]]}

`share`: of the model's parameters, each of their numbers counted; `modules`: keys that came, and all.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from trainrelay_hook import files

_MOST = 20  # of each list: enough to begin a search
_MOST_LOADS = 8
_MOST_DEPTH = 4  # of a module's name: its first part may be the same for all


class InitialTooDifferent(ValueError):
    """Raised on every rank instead of the first optimizer step."""


class Load:
    """One load of a module from a table of the file."""

    def __init__(self, module: Any, table: Mapping[str, Any]) -> None:
        self._module = weakref.ref(module)
        self._names = {id(tensor()): name for name, (tensor, _) in table.items()}
        self._in_file = {name: shape for name, (_, shape) in table.items()}
        self._used: set[str] = set()
        self._came: dict[str, bool] = {}
        self._parameters: dict[int, tuple[int, bool]] = {}  # size, and whether it came; tied ones once
        self._shapes: list[str] = []

    def takes(self, name: str, own: Any, value: Any) -> None:
        """The module's own tensor of a name, and the one that it was given, if any."""
        source = name if value is None else self._names.get(id(value), name)
        # One of the file's name alone was made of it by the trainer, unless it is the module's own.
        given = value is not None and source in self._in_file
        given = given and (id(value) in self._names or value.data_ptr() != own.data_ptr())
        wanted = tuple(own.shape)
        shape = tuple(value.shape) if given else self._in_file.get(source, wanted)
        if given or shape != wanted:
            self._used.add(source)
        if shape != wanted:
            sizes = ("x".join(map(str, one)) or "one number" for one in (shape, wanted))
            self._shapes.append("{} ({} in the file, {} in the model)".format(name[:200], *sizes))
        self._came[name] = given and shape == wanted
        if isinstance(own, sys.modules["torch"].nn.Parameter):
            self._parameters[id(own)] = own.numel(), self._came[name]

    def holds(self, parameters: Iterable[Any]) -> bool:
        """Whether the module is there and has all of these."""
        module = self._module()
        return module is not None and {id(one) for one in module.parameters()}.issuperset(map(id, parameters))

    def note(self) -> dict[str, Any]:
        """What came."""
        sizes, came = self._parameters.values(), self._came
        left_over = _by_module([name for name in self._in_file if name not in self._used], self._in_file)
        more = len(self._shapes) - _MOST
        return {
            "share": sum(size for size, whether in sizes if whether) / sum(size for size, _ in sizes),
            "modules": [[name, sum(map(came.get, keys)), len(keys)] for name, keys in _by_module(came, came)],
            "shapes": self._shapes[:_MOST] + (["and {} more".format(more)] if more > 0 else []),
            "left_over": [[name, len(keys)] for name, keys in left_over],
        }


class Initial:
    """What this rank saw of the file so far."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] | None = None  # None: nothing is asked, or no longer
        self._tables: list[Mapping[str, Any]] = []  # of the file, once it has been read
        self._loads: list[Load] = []
        self.loading: Load | None = None
        self._stopped: str | None = None

    def read(self, source: Any, loaded: Any) -> None:
        """torch.load has read something."""
        if self.settings and os.path.samefile(getattr(source, "name", source), self.settings["path"]):
            if not self._tables:
                _watch_loads(self)
            self._tables = list(_tables(loaded))

    def begin(self, module: Any, state_dict: Mapping[str, Any]) -> None:
        """A module begins to be loaded."""
        given = set(map(id, state_dict.values())) - {id(None)}
        tables = [one for one in self._tables if any(id(tensor()) in given for tensor, _ in one.values())]
        self.loading = Load(module, tables[0]) if tables else None
        self._loads = [*self._loads, *filter(None, [self.loading])][-_MOST_LOADS:]

    def forget(self) -> None:
        """Nothing more is asked."""
        self.settings, self._tables, self._loads, self.loading = None, [], [], None

    def before_step(self, optimizer: Any) -> None:
        """Before each optimizer step; the first one says what came."""
        if self.settings:
            with suppress(Exception):  # of ours
                self._conclude(optimizer, self.settings["match_min"])
            self.forget()
        if self._stopped:
            raise InitialTooDifferent(self._stopped)

    def _conclude(self, optimizer: Any, match_min: float | None) -> None:
        trained = [one for group in optimizer.param_groups for one in group["params"]]
        note = next((load.note() for load in reversed(self._loads) if load.holds(trained)), {"share": None})
        share = note["share"]
        if share is not None and match_min is not None and share < match_min:
            self._stopped = (
                "trainrelay stopped before the first optimizer step: {:.4g} % of the model's parameters came"
                " from the initial checkpoint; init_match_min is {:.4g}".format(100 * share, match_min)
            )
        if files.rank() == "0":
            files.write(files.INITIAL, json.dumps({"format": files.FORMAT, **note}))


_initial = Initial()
before_step = _initial.before_step


def attach(module: Any, settings: dict[str, Any]) -> None:
    """Waits for the file in torch.serialization's `load`."""
    original, _initial.settings = module.load, settings

    @functools.wraps(original)
    def load(f: Any, *args: Any, **kwargs: Any) -> Any:
        loaded = original(f, *args, **kwargs)
        with suppress(Exception):  # a file in memory, say
            _initial.read(f, loaded)
        return loaded

    module.load = load


def _watch_loads(initial: Initial) -> None:
    kind = sys.modules["torch"].nn.Module
    original = kind._load_from_state_dict

    @functools.wraps(original)
    def _load_from_state_dict(self: Any, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        saved: dict[str, Any] = {}
        with suppress(Exception):  # of ours
            if not prefix:
                initial.begin(self, state_dict)
            saved.update(self._parameters, **self._buffers)
        original(self, state_dict, prefix, *args, **kwargs)
        try:  # it may have renamed what it was given
            for name, own in saved.items():
                if initial.loading and own is not None and name not in self._non_persistent_buffers_set:
                    initial.loading.takes(prefix + name, own, state_dict.get(prefix + name))
        except Exception:  # noqa: BLE001 - a parameter without a shape, say
            initial.forget()

    kind._load_from_state_dict = _load_from_state_dict


def _tables(loaded: Any, depth: int = 2) -> Iterator[dict[str, Any]]:
    """The dicts of tensors by name in what was loaded, with their shapes; an optimizer's are deeper.

    A trainer may let go of tensors that it does not load.
    """
    if isinstance(loaded, Mapping):
        tensors = {name: one for name, one in loaded.items() if isinstance(one, sys.modules["torch"].Tensor)}
        yield {str(name): (weakref.ref(one), tuple(one.shape)) for name, one in tensors.items()}
        for one in loaded.values() if depth else ():
            yield from _tables(one, depth - 1)


def _by_module(names: Iterable[str], among: Iterable[str]) -> Iterable[tuple[str, list[str]]]:
    """Keys by the first part of their name in which those that they are among differ."""
    parts, depth = [name.split(".") for name in among], 1
    while depth < _MOST_DEPTH and len({tuple(one[:depth]) for one in parts}) == 1:
        depth += 1
    found: dict[str, list[str]] = {}
    for name in names:
        module = ".".join(name.split(".")[:depth])[:80]
        found.setdefault(module if module in found or len(found) < _MOST - 1 else "others", []).append(name)
    return found.items()
