"""trainrelay_hook as its supervisor sees it: switched on, asked to save, missed if it is not there, what it
stopped for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from trainrelay.errors import UserError
from trainrelay.records import HookNote, InitialWeights, NotFiniteStep, StepPoint
from trainrelay.supervise.job import InitialCheckpoint, StepSaving
from trainrelay.supervise.lease.lease import Lease
from trainrelay.system.files import content, last_bytes, write_json
from trainrelay.text import quoted
from trainrelay.training.step_checkpoints import StepCheckpoint, read_steps
from trainrelay_hook import files

_LOOK_S = 60.0  # between two looks at the notes of a trainer that trains
NOTES_WITHIN_S = 60.0  # of the first progress: a shared file system may show another node's files this late
_MOST_BYTES = 64 * 1024
_MOST_NAMES = 5  # of parameters and of ranks in a sentence
_SAY_S = 30.0  # `trainrelay stop` takes a supervisor that says nothing for one that does not react
_ANSWER_LOOK_S = 0.05  # what comes after a step checkpoint is retrained
_WHY = (
    "its environment was cleared or lacks RANK, its container has no folder of trainrelay, its Python runs"
    " with -I, -E or -S, or another sitecustomize comes first on PYTHONPATH"
)

M = TypeVar("M", bound=BaseModel)


class Hook:
    """The hook in the ranks of an attempt, whose folder is `attempt`, on one or several nodes.

    `asked`: the step checkpoint that it continues from.
    """

    def __init__(self, attempt: Path, ranks: int, nodes: int = 1, asked: StepPoint | None = None) -> None:
        self._folder, self.ranks = attempt / files.FOLDER, range(ranks)
        self._steps, self._asked = attempt / files.STEPS, asked
        self._settings = self._folder / files.SETTINGS
        self._patience_s = NOTES_WITHIN_S if nodes > 1 else 0.0
        self._looks_at_s: float | None = None
        self._said: set[str] = set()
        self.initial: InitialWeights | None = None  # what came from the initial checkpoint, once it is seen

    def switched(
        self,
        env: Mapping[str, str],
        *,
        on: bool,
        saving: StepSaving | None = None,
        lease: Lease | None = None,
        initial: InitialCheckpoint | None = None,
    ) -> dict[str, str]:
        """The launcher's whole environment; where the hook is on, its settings are written."""
        others = {name: value for name, value in env.items() if name != files.VARIABLE}
        if not on:
            return others
        self._folder.mkdir(exist_ok=True)
        settings: dict[str, Any] = {"format": files.FORMAT, "not_finite": True, "steps": None, "resume": None}
        settings["initial"] = asdict(initial) if initial and not self._asked else None
        if saving and lease:
            held = {"claims": str(lease.folder.absolute()), "token": lease.token}
            settings["steps"] = {**asdict(saving), "folder": str(self._steps.absolute()), **held}
        if self._asked:
            settings["resume"] = {"path": str(Path(self._asked.path).absolute())}
        write_json(self._settings, settings)
        return {**others, files.VARIABLE: str(self._settings.absolute())}

    def adopt(self, lease: Lease) -> None:
        """From now on its ranks save for another supervisor, which took the place of one that died."""
        with suppress(OSError, ValueError, TypeError, KeyError, UserError):  # it may save none
            settings = orjson.loads(content(self._settings))
            settings["steps"]["token"] = lease.token
            write_json(self._settings, settings)

    def look(self, now_s: float) -> Iterator[str]:
        """To be called while the trainer trains: what is to be said, once. The clock never goes back."""
        if self._looks_at_s is None:
            self._looks_at_s = now_s + self._patience_s
        if now_s < self._looks_at_s:
            return
        self._looks_at_s = now_s + _LOOK_S
        why = self.not_resumed(trained=True)
        resumed = self._asked and (f"not resumed {self._asked}: {why}" if why else f"resumed {self._asked}")
        initial = self.look_at_initial()
        came = initial and f"from the initial checkpoint: {initial}"
        found = [
            one for one in (self.absent(), resumed, self.unsaved(), came) if one and one not in self._said
        ]
        self._said.update(found)
        yield from found

    def look_at_initial(self) -> InitialWeights | None:
        """What came from the initial checkpoint, as rank 0 noted it before its first step."""
        self.initial = self.initial or _read(self._folder / files.INITIAL, InitialWeights)
        return self.initial

    def not_resumed(self, *, trained: bool) -> str | None:
        """Why it did not continue at the step checkpoint; None: it did, was not asked to, or has yet to."""
        if not self._asked:
            return None
        notes = self.each(files.NOTE, HookNote)
        said = next((quoted(note.not_resumed) for note in notes if note.not_resumed), None)
        if said or not trained:
            return said
        first = self._note(0)
        if first and first.resumed and first.resumed.step == self._asked.step:
            return None
        return self.absent() or "no rank reports that it did"

    def unsaved(self) -> str | None:
        """Why no step checkpoint is saved, or the last one was not; None: it was, or none is asked for."""
        for note in self.each(files.NOTE, HookNote):
            if note.steps:
                return f"no step checkpoints are saved: {quoted(note.steps)}"
            if note.save_error:
                return f"a step checkpoint could not be saved: {quoted(note.save_error)}"
        return None

    def save(self, lease: Lease, over: Callable[[], bool], say: Callable[[str], None]) -> None:
        """Asks the ranks for a step checkpoint, if they save any, and waits for it until it is `over`.

        A script that saves by itself answers nothing: it ends.
        """
        note = self._note(0)
        if over() or note is None or not (note.saves or note.asks):
            return
        waits = "waiting for a step checkpoint" if note.saves else "waiting for the script to save and to end"
        failed, why, said_s = note.save_error, None, float("-inf")
        try:
            # One supervisor asks once, so its token is a number that rises.
            write_json(self._folder / files.REQUEST, {"format": files.FORMAT, "request": lease.token})
        except UserError as error:
            why = str(error)
        while not (saved := self._answer(lease.token)) and not why and not over():
            if time.monotonic() - said_s >= _SAY_S:
                said_s = time.monotonic()
                say(waits)
            time.sleep(_ANSWER_LOOK_S)
            note = self._note(0) or note
            why = note.save_error if note.save_error != failed else None
        if not (note.saves or why):
            return
        problem = quoted(why or "the trainer did not answer in time")
        say(f"saved {saved.point}" if saved else f"no step checkpoint was saved: {problem}")

    def _answer(self, request: int) -> StepCheckpoint | None:
        found, _ = read_steps(self._steps.parents[2])
        own = (one for one in found if one.folder.parent == self._steps)
        return next((one for one in own if one.manifest.request == request), None)

    def _note(self, rank: int) -> HookNote | None:
        return _read(self._folder / files.NOTE.format(rank), HookNote)

    def absent(self) -> str | None:
        """The sentence that it did not attach; None: it did, has nothing to attach to, or is off."""
        if not self._settings.is_file():
            return None
        notes = {rank: self._note(rank) for rank in self.ranks}
        said = ((rank, note.error) for rank, note in notes.items() if note and note.error)
        errors = [f"on rank {rank} {quoted(error)}" for rank, error in said]
        missing = sum(note is None for note in notes.values())
        if not (errors or missing):
            return None
        who = f"{missing} of {len(notes)} ranks did not load it"
        who = "no rank loaded it" if missing == len(notes) else who
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
