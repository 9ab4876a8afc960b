"""Adds to modules of the trainer right after they are imported, and notes in a file that it did."""

from __future__ import annotations

import os
import sys

from trainrelay_hook import files, notes

TYPE_CHECKING = False  # typing takes milliseconds to import, in every process that a rank starts
if TYPE_CHECKING:
    from typing import Any


def start() -> None:
    """Called once, at the start of a rank's Python: from now on the modules are waited for."""
    files.write(files.NOTE, files.LOADED, over=False)
    sys.meta_path.insert(0, Finder())


class Finder:
    """Finds what the other finders find; an awaited module is added to once its code has run."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """What Python asks each finder."""
        if name not in (*files.RUNNERS, files.OPTIMIZER, files.LOADER, files.SERIALIZATION):
            return None
        others = [one for one in sys.meta_path if one is not self and hasattr(one, "find_spec")]
        specs = (one.find_spec(name, path, target) for one in others)
        spec: Any = next((spec for spec in specs if spec is not None), None)
        try:
            _add_to(spec.loader)
        except Exception:  # noqa: BLE001 - there is none, or its loader is of another kind
            if spec is not None:
                notes.note(error="its loader is {}".format(type(spec.loader).__name__))
        return spec


def _add_to(loader: Any) -> None:
    run = loader.exec_module

    def exec_module(module: Any) -> None:
        run(module)
        try:
            _attach(module)
        except Exception as error:  # noqa: BLE001 - another mmcv, say: the training runs without
            notes.note(error=notes.of(error))

    loader.exec_module = exec_module


def _attach(module: Any) -> None:
    import json  # noqa: PLC0415

    with open(os.environ[files.VARIABLE], encoding="utf-8") as file:
        settings = json.load(file)
    if settings["format"] != files.FORMAT:
        raise ValueError("settings of format {}".format(settings["format"]))
    if module.__name__ == files.SERIALIZATION:
        if settings.get("initial"):
            from trainrelay_hook import initial_weights  # noqa: PLC0415

            initial_weights.attach(module, settings["initial"])
        return
    if module.__name__ not in files.RUNNERS:
        from trainrelay_hook import telemetry  # noqa: PLC0415

        telemetry.attach(module)
        return
    import importlib  # noqa: PLC0415

    family = "trainrelay_hook." + module.__name__.replace(".", "_")
    importlib.import_module(family).attach(module, settings)  # it imports torch
    notes.note(attached=[module.__name__])
