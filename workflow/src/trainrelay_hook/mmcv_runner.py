"""mmcv 1.x: what is done before and after all hooks of a runner. Nothing is registered: their order stays."""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any

import torch

from trainrelay_hook import data_order, not_finite, notes, step_state
from trainrelay_hook.agreement import Agreement
from trainrelay_hook.resume import Halfway, Resume
from trainrelay_hook.step_saving import StepSaving

STATE = "_trainrelay_hook"  # the attribute of a runner for what is kept of it
_FLOW = "_trainrelay_flow"  # and for the loaders that it runs through, with their modes and numbers of epochs


def attach(module: Any, settings: dict[str, Any]) -> None:
    """Wraps `BaseRunner.call_hook`; AttributeError where this mmcv has none."""
    original = module.BaseRunner.call_hook
    steps = bool(settings.get("steps") or settings.get("resume"))
    if not (settings["not_finite"] or steps) or hasattr(original, STATE):
        return

    @functools.wraps(original)
    def call_hook(self: Any, fn_name: str) -> None:
        _act(self, "before_hooks_of_" + fn_name)
        original(self, fn_name)
        _act(self, "after_hooks_of_" + fn_name)

    def _act(runner: Any, name: str) -> None:
        try:
            if name == "before_hooks_of_before_run":
                setattr(runner, STATE, None)  # a trainer may run one twice
                setattr(runner, STATE, Training(runner, settings, module))
            # A trainer may call hooks without a `before_run`.
            getattr(getattr(runner, STATE, None), name, _nothing)()
        except Halfway:
            raise
        except Exception:  # noqa: BLE001, S110 - of ours; what stops a training is raised by the optimizer's step
            pass

    setattr(call_hook, STATE, None)
    if settings["not_finite"]:
        not_finite.watch_torch()
    if steps:
        _remember_flow(module.EpochBasedRunner)
    module.BaseRunner.call_hook = call_hook


class Training:
    """One run of a runner, on one rank."""

    def __init__(self, runner: Any, settings: dict[str, Any], module: Any) -> None:
        self._runner, self._agreement = runner, Agreement()
        self._guard = not_finite.Guard(runner, self._agreement) if settings["not_finite"] else None
        self._order: data_order.Order | None = None
        self._saving: StepSaving | None = None
        self._resume: Resume | None = None
        steps, resume = settings.get("steps"), settings.get("resume")
        if not steps and not resume:
            return
        why = why_unknown(runner, module)
        if not why and not self._agreement.whole:
            why = "the ranks have no common network"
        if not why:
            exact = steps is not None and steps["exact"]
            self._order = data_order.Order(_train_loader(runner), torch.initial_seed() if exact else None)
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

    def before_hooks_of_before_run(self) -> None:
        if self._resume:
            self._resume.put_counters()

    after_hooks_of_before_run = before_hooks_of_before_run

    def after_hooks_of_before_train_epoch(self) -> None:
        if self._order:
            self._order.epoch = self._runner.epoch
        if self._resume:
            self._resume.put_state()

    def before_hooks_of_before_train_iter(self) -> None:
        self._agreement.forget()
        if self._guard:
            self._guard.begin_forward()
        if self._resume:
            self._resume.begin_iteration()
        if self._saving:
            self._saving.begin_iteration()

    def before_hooks_of_after_train_iter(self) -> None:
        hidden = self._guard.begin_update() if self._guard else False
        self._agreement.say([hidden, *(self._saving.says() if self._saving else (False, False, 0))])

    def after_hooks_of_after_train_iter(self) -> None:
        if self._guard:
            self._guard.end_update()
        if self._saving:
            self._saving.end_iteration(*self._agreement.hear()[1:])


def why_unknown(runner: Any, module: Any) -> str | None:
    """Why a step of this runner is not all that there is to continue; None: it is."""
    kind, known = type(runner), module.EpochBasedRunner
    if any(getattr(kind, name, None) is not getattr(known, name) for name in ("run", "train", "run_iter")):
        return "the runner {} is not known".format(kind.__name__)
    flow = getattr(runner, _FLOW)
    trained = [epochs for mode, epochs, _ in flow if mode == "train"]
    if len(trained) != 1 or (len(flow) > 1 and trained[0] != 1):  # a resumed run begins with the first
        return "its workflow is {}".format([(mode, epochs) for mode, epochs, _ in flow])
    return data_order.why_unknown(_train_loader(runner)) or step_state.why_unknown(runner)


def _train_loader(runner: Any) -> Any:
    return next(loader for mode, _, loader in getattr(runner, _FLOW) if mode == "train")


def _remember_flow(runner_class: Any) -> None:
    original = runner_class.run

    @functools.wraps(original)
    def run(self: Any, data_loaders: Any, workflow: Any, *args: Any, **kwargs: Any) -> Any:
        with suppress(Exception):  # whatever is wrong with them, the runner says it
            setattr(self, _FLOW, [(*flow, loader) for flow, loader in zip(workflow, data_loaders)])
        return original(self, data_loaders, workflow, *args, **kwargs)

    runner_class.run = run


def _nothing() -> None:
    pass
