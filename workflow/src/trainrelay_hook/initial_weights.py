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
    """One load of a module from a table of the file's tensors by name."""

    def __init__(self, module: Any, table: Mapping[str, Any]) -> None:
        self._module = weakref.ref(module)
        self._names = {id(tensor): name for name, tensor in table.items()}
        self._in_file = {_bare(name): (id(one), tuple(one.shape)) for name, one in table.items()}
        self._used: set[int] = set()
        self._came: dict[str, bool] = {}
        self._parameters: dict[int, tuple[int, bool]] = {}  # size, and whether it came; tied ones once
        self._shapes: list[str] = []

    def takes(self, name: str, own: Any, value: Any) -> None:
        """The module's own tensor of a name, and the one that it was given, if any."""
        bare, wanted = _bare(name), tuple(own.shape)
        source, shape = self._in_file.get(bare, (0, wanted))
        given = id(value) in self._names
        if given:
            source = id(value)
        elif value is not None and source:  # made of the file's by the trainer, unless it is the module's own
            given = value.data_ptr() != own.data_ptr()
        shape = tuple(value.shape) if given else shape
        if given or shape != wanted:
            self._used.add(source)
        if shape != wanted:
            sizes = ("x".join(map(str, one)) or "one number" for one in (shape, wanted))
            self._shapes.append("{} ({} in the file, {} in the model)".format(bare[:200], *sizes))
        self._came[bare] = given and shape == wanted
        if isinstance(own, sys.modules["torch"].nn.Parameter):
            self._parameters[id(own)] = own.numel(), self._came[bare]

    def holds(self, parameters: Iterable[Any]) -> bool:
        """Whether the module is there and has all of these."""
        module = self._module()
        return module is not None and {id(one) for one in module.parameters()}.issuperset(map(id, parameters))

    def note(self) -> dict[str, Any]:
        """What came."""
        sizes, came = self._parameters.values(), self._came
        unused = [name for tensor, name in self._names.items() if tensor not in self._used]
        more = len(self._shapes) - _MOST
        return {
            "share": sum(size for size, whether in sizes if whether) / sum(size for size, _ in sizes),
            "modules": [
                [name, sum(came[key] for key in keys), len(keys)] for name, keys in _by_module(came, came)
            ],
            "shapes": self._shapes[:_MOST] + (["and {} more".format(more)] if more > 0 else []),
            "left_over": [[name, len(keys)] for name, keys in _by_module(unused, self._names.values())],
        }


class Initial:
    """What this rank saw of the file so far."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] | None = None  # None: nothing is asked, or it is said
        self._tables: list[Mapping[str, Any]] = []  # of the file, once it has been read
        self._loads: list[Load] = []
        self._loading: Load | None = None
        self._stopped: str | None = None

    def expect(self, settings: dict[str, Any]) -> None:
        """The file is to be read."""
        self._settings = settings

    def read(self, source: Any, loaded: Any) -> None:
        """torch.load has read something."""
        if self._settings and os.path.samefile(getattr(source, "name", source), self._settings["path"]):
            if not self._tables:
                _watch_loads(self)
            self._tables = [weakref.WeakValueDictionary(one) for one in _tables(loaded)]

    def begin(self, module: Any, state_dict: Mapping[str, Any]) -> None:
        """A module begins to be loaded."""
        given = set(map(id, state_dict.values()))
        taken = (one for one in self._tables if any(id(tensor) in given for tensor in one.values()))
        table = next(taken, None)
        self._loading = None if table is None else Load(module, table)
        self._loads = [*self._loads, *filter(None, [self._loading])][-_MOST_LOADS:]

    def takes(self, own: Mapping[str, Any], state_dict: Mapping[str, Any]) -> None:
        """A part of it was given these."""
        for name, one in own.items() if self._loading else ():
            self._loading.takes(name, one, state_dict.get(name))

    def forget(self) -> None:
        """Nothing more is asked."""
        self._settings, self._tables, self._loads, self._loading = None, [], [], None

    def before_step(self, optimizer: Any) -> None:
        """Before each optimizer step; the first one says what came."""
        if self._settings:
            with suppress(Exception):  # of ours
                self._conclude(optimizer, self._settings["match_min"])
            self.forget()
        if self._stopped:
            raise InitialTooDifferent(self._stopped)

    def _conclude(self, optimizer: Any, match_min: float | None) -> None:
        trained = [one for group in optimizer.param_groups for one in group["params"]]
        note = next((load.note() for load in reversed(self._loads) if load.holds(trained)), {"share": None})
        if files.rank() == "0":
            with suppress(OSError):
                files.write(files.INITIAL, json.dumps({"format": files.FORMAT, **note}))
        share = note["share"]
        if share is not None and match_min is not None and share < match_min:
            self._stopped = (
                "trainrelay stopped before the first optimizer step: {:.4g} % of the model's parameters came"
                " from the initial checkpoint; init_match_min is {:.4g}".format(100 * share, match_min)
            )


_initial = Initial()
before_step = _initial.before_step


def attach(module: Any, settings: dict[str, Any]) -> None:
    """Waits for the file in torch.serialization's `load`."""
    original = module.load
    _initial.expect(settings)

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
        saved = {**self._parameters, **self._buffers}
        own = {prefix + name: saved[name] for name in saved.keys() - self._non_persistent_buffers_set}
        with suppress(Exception):  # of ours
            if not prefix:
                initial.begin(self, state_dict)
        original(self, state_dict, prefix, *args, **kwargs)
        try:  # it may have renamed what it was given
            initial.takes({name: one for name, one in own.items() if one is not None}, state_dict)
        except Exception:  # noqa: BLE001 - a parameter without a shape, say
            initial.forget()

    kind._load_from_state_dict = _load_from_state_dict


def _tables(loaded: Any, depth: int = 2) -> Iterator[dict[str, Any]]:
    """The dicts of tensors by name in what was loaded; an optimizer's are deeper."""
    if isinstance(loaded, Mapping):
        tensor = sys.modules["torch"].Tensor
        yield {name: one for name, one in loaded.items() if isinstance(name, str) and isinstance(one, tensor)}
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


def _bare(name: str) -> str:
    """A key without the prefix of DistributedDataParallel."""
    return name[len("module.") :] if name.startswith("module.") else name
