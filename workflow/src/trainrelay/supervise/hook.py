"""trainrelay_hook as its supervisor sees it: switched on, missed if it is not there, what it stopped for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from trainrelay.records import HookNote, NotFiniteStep
from trainrelay.supervise.shared_files import last_bytes
from trainrelay.system.files import write_json
from trainrelay.text import quoted
from trainrelay_hook import files

NOTES_WITHIN_S = 60.0  # of the first progress: a shared file system may show another node's files this late
_MOST_BYTES = 64 * 1024
_MOST_NAMES = 5  # of parameters and of ranks in a sentence
_WHY = (
    "its environment was cleared, its Python runs with -I, -E or -S, or another sitecustomize comes first on"
    " PYTHONPATH"
)

M = TypeVar("M", bound=BaseModel)


class Hook:
    """The hook in the ranks of an attempt, whose folder is `attempt`, on one or several nodes."""

    def __init__(self, attempt: Path, ranks: int, nodes: int = 1) -> None:
        self._folder, self.ranks = attempt / files.FOLDER, range(ranks)
        self._settings = self._folder / files.SETTINGS
        self._patience_s = NOTES_WITHIN_S if nodes > 1 else 0.0
        self._looks_at_s: float | None = None
        self._looked = False

    def switched(self, env: Mapping[str, str], *, on: bool) -> dict[str, str]:
        """The launcher's whole environment; where the hook is on, its settings are written."""
        others = {name: value for name, value in env.items() if name != files.VARIABLE}
        if not on:
            return others
        self._folder.mkdir(exist_ok=True)
        write_json(self._settings, {"format": files.FORMAT, "not_finite": True})
        return {**others, files.VARIABLE: str(self._settings.absolute())}

    def look(self, now_s: float) -> str | None:
        """To be called while the trainer trains: `absent`, once it is certain. The clock never goes back."""
        if self._looks_at_s is None:
            self._looks_at_s = now_s + self._patience_s
        if self._looked or now_s < self._looks_at_s:
            return None
        self._looked = True
        return self.absent()

    def absent(self) -> str | None:
        """The sentence that it did not attach; None: it did, has nothing to attach to, or is off."""
        if not self._settings.is_file():
            return None
        notes = {rank: _read(self._folder / files.NOTE.format(rank), HookNote) for rank in self.ranks}
        missing = [rank for rank, note in notes.items() if note is None]
        errors = [
            f"on rank {rank} {quoted(note.error)}" for rank, note in notes.items() if note and note.error
        ]
        if not errors and not missing:
            return None
        who = f"{len(missing)} of {len(notes)} ranks did not load it"
        who = "no rank loaded it" if len(missing) == len(notes) else who
        why = errors[0] if errors else f"{who} ({_WHY})"
        return f"the hook did not attach: {why}; the training runs without it"

    def stopped(self) -> str | None:
        """What the ranks saw when they stopped before an optimizer step; None if they did not."""
        return said_of(self.each(files.STOPPED, NotFiniteStep))

    def each(self, name: str, model: type[M]) -> list[M]:
        """What the ranks wrote under a name, in order, those left out that wrote nothing valid."""
        return list(filter(None, (_read(self._folder / name.format(rank), model) for rank in self.ranks)))


def said_of(stops: Sequence[NotFiniteStep]) -> str | None:
    """What the ranks saw in one sentence (pure); None where none stopped."""
    if not stops:
        return None
    first = min(stops, key=lambda stop: stop.step)
    seen = [part for stop in stops if stop.step == first.step and (part := _of_rank(stop))][:_MOST_NAMES]
    if first.parameters:
        names = quoted(", ".join(first.parameters[:_MOST_NAMES]))
        others = len(first.parameters[_MOST_NAMES:]) + first.more_parameters
        seen.append(f"the gradients of {names}{f' and {others} more' if others else ''} are not finite")
    if not first.parameters and not any(stop.loss for stop in stops) and any(stop.hidden for stop in stops):
        seen.append("if it is meant to be hidden, set `hook: off` for this stage")
    what = "; ".join(seen) or "a loss or a gradient is not finite"
    where = f"epoch {first.epoch}, iteration {first.iteration} (step {first.step} of the training)"
    return f"stopped before the optimizer step of {where}: {what}"


def _of_rank(stop: NotFiniteStep) -> str:
    loss = [f"the loss is {quoted(stop.loss)}"] if stop.loss else []
    hidden = [f"torch.nan_to_num hides a loss that is {quoted(stop.hidden[0])}"] if stop.hidden else []
    samples = f" (samples {quoted(', '.join(stop.samples))})" if stop.samples else ""
    return f"on rank {stop.rank} {' and '.join(loss + hidden)}{samples}" if loss or hidden else ""


def _read(path: Path, model: type[M]) -> M | None:
    """A file of a rank's, without trust in it."""
    try:
        return model.model_validate_json(last_bytes(path, _MOST_BYTES))
    except ValidationError:
        return None
