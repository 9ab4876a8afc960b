"""mmcv 1.x: what is done before and after all hooks of a runner. Nothing is registered: their order stays."""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any

from trainrelay_hook import not_finite
from trainrelay_hook.agreement import Agreement

STATE = "_trainrelay_hook"  # the attribute of a runner for what is kept of it


def attach(module: Any, settings: dict[str, Any]) -> None:
    """Wraps `BaseRunner.call_hook`; AttributeError where this mmcv has none."""
    original = module.BaseRunner.call_hook
    if not settings["not_finite"] or hasattr(original, STATE):
        return

    @functools.wraps(original)
    def call_hook(self: Any, fn_name: str) -> None:
        with suppress(Exception):  # of ours; what stops a training is raised by the optimizer's step
            BEFORE.get(fn_name, _nothing)(self)
        original(self, fn_name)
        with suppress(Exception):
            AFTER.get(fn_name, _nothing)(self)

    setattr(call_hook, STATE, None)
    not_finite.watch_torch()
    module.BaseRunner.call_hook = call_hook


def _begin(runner: Any) -> None:
    setattr(runner, STATE, not_finite.Guard(runner, Agreement()))


def _nothing(runner: Any) -> None:
    pass


def _of_guard(name: str) -> Any:
    def act(runner: Any) -> None:
        guard = getattr(runner, STATE, None)  # a trainer may call hooks without a `before_run`
        if guard is not None:
            getattr(guard, name)()

    return act


BEFORE = {
    "before_run": _begin,
    "before_train_iter": _of_guard("begin_forward"),
    "after_train_iter": _of_guard("begin_update"),
}
AFTER = {"after_train_iter": _of_guard("end_update")}
