"""What is done before and after all hooks of a runner. Nothing is registered: their order stays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from trainrelay_hook import data_order, not_finite, notes, step_state
from trainrelay_hook.agreement import Agreement
from trainrelay_hook.resume import Halfway, Resume
from trainrelay_hook.runners import Runner
from trainrelay_hook.step_saving import StepSaving

STATE = "_trainrelay_hook"  # the attribute of a runner for what is kept of it


def follow(kind: Any, seen: Callable[[Any], Runner], begins: str, settings: dict[str, Any]) -> bool:
    """Wraps `call_hook` of a class: a training begins with the hooks `begins`. Whether steps are saved."""
    original = kind.call_hook
    steps = bool(settings.get("steps") or settings.get("resume"))
    if not (settings["not_finite"] or steps) or hasattr(original, STATE):
        return False

    @functools.wraps(original)
    def call_hook(self: Any, fn_name: str, **given: Any) -> None:
        _act(self, "before_hooks_of_" + fn_name, given)
        original(self, fn_name, **given)
        _act(self, "after_hooks_of_" + fn_name, given)

    def _act(runner: Any, name: str, given: dict[str, Any]) -> None:
        try:
            if name == "before_hooks_of_" + begins:
                setattr(runner, STATE, None)  # a trainer may run one twice
                setattr(runner, STATE, Training(seen(runner), settings))
            # A trainer may call hooks without those that begin.
            getattr(getattr(runner, STATE, None), name, _nothing)(given)
        except Halfway:
            raise
        except Exception as error:  # noqa: BLE001 - of ours; what stops a training is raised by the optimizer's step
            if name == "before_hooks_of_" + begins and steps:
                with suppress(Exception):
                    notes.note(steps=notes.of(error))

    setattr(call_hook, STATE, None)
    if settings["not_finite"]:
        not_finite.watch_torch()
    kind.call_hook = call_hook
    return steps


class Training:
    """One run of a runner, on one rank."""

    def __init__(self, runner: Runner, settings: dict[str, Any]) -> None:
        self._runner, self._agreement, self._told = runner, Agreement(), True
        self._guard = not_finite.Guard(runner, self._agreement) if settings["not_finite"] else None
        self._order: data_order.Order | None = None
        self._saving: StepSaving | None = None
        self._resume: Resume | None = None
        steps, resume = settings.get("steps"), settings.get("resume")
        if steps or resume:
            self._begin_steps(steps, resume)
        if self._guard or self._saving:
            runner.before_update(self._tell)

    def _begin_steps(self, steps: dict[str, Any] | None, resume: dict[str, Any] | None) -> None:
        runner = self._runner
        why = runner.why_unknown() or step_state.why_unknown(runner)
        if not why and not self._agreement.whole:
            why = "the ranks have no common network"
        if not why:
            self._order = data_order.put_into(runner.loader, steps, by_epoch=runner.by_epoch)
            self._order.batches, self._order.begins = runner.skips, True
        if resume:
            self._take_up(resume["path"], why)
        if self._order and steps:
            self._saving = StepSaving(runner, steps, self._agreement, self._order)
            notes.note(saves=True)
        elif steps:
            notes.note(steps=why)

    def _take_up(self, path: str, why: str | None) -> None:
        """What was found at `path`, if every rank found it."""
        found = None
        try:
            found = Resume(self._runner, self._order, path) if self._order else None
        except Exception as error:  # noqa: BLE001 - whatever a damaged file leads to
            why = notes.of(error)
        if self._agreement.all(found is not None):
            self._resume = found
            notes.note(resumed=found and found.place)
        else:
            notes.note(not_resumed=why or "another rank could not read it")

    def before_hooks_of_before_run(self, _: Any) -> None:
        if self._resume:
            self._resume.put_place()

    # mmengine has resumed its own checkpoint only by then.
    after_hooks_of_before_run = before_hooks_of_before_run
    before_hooks_of_before_train = after_hooks_of_before_train = before_hooks_of_before_run

    def before_hooks_of_after_run(self, _: Any) -> None:
        self._resume = None  # the same runner may train or test again

    before_hooks_of_after_train = before_hooks_of_after_run

    def after_hooks_of_before_train_epoch(self, _: Any) -> None:
        if self._order:
            self._order.epoch, self._order.begins = self._runner.epoch, True
            self._order.length = len(self._order)
        if self._resume:
            self._resume.put_state()

    after_hooks_of_before_epoch = after_hooks_of_before_train_epoch  # mmcv's IterBasedRunner

    def before_hooks_of_before_train_iter(self, given: Any) -> None:
        self._agreement.forget()
        self._told = False
        self._runner.begin_iteration(given)
        if self._guard:
            self._guard.begin_forward()
        if self._order:
            self._order.batches, self._order.begins = self._order.batches + 1, False
            if self._order.workers_began:
                known = step_state.attributes(self._runner, self._order).get(step_state.DATA)
                self._order.workers_began, self._order.known = False, known
        if self._resume:
            self._resume.begin_iteration()
        if self._saving:
            self._saving.begin_iteration()

    def before_hooks_of_after_train_iter(self, given: Any) -> None:
        self._runner.end_iteration(given)
        self._tell()

    def _tell(self) -> None:
        """The other ranks, once in an iteration, before an optimizer steps."""
        if self._told:
            return
        self._told = True
        with suppress(Exception):  # as above
            hidden = self._guard.begin_update() if self._guard else False
            self._agreement.say([hidden, *(self._saving.says() if self._saving else (False, False, 0))])

    def after_hooks_of_after_train_iter(self, _: Any) -> None:
        if self._guard:
            self._guard.end_update()
        if self._saving:
            self._saving.end_iteration(*self._agreement.hear()[1:])


def _nothing(_: Any) -> None:
    pass
