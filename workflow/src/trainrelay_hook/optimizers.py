"""The optimizers of a runner, and what is done around their methods."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any


def of(runner: Any) -> list[Any]:
    """A runner has one, or a dict of them."""
    return list(runner.optimizer.values()) if isinstance(runner.optimizer, dict) else [runner.optimizer]


def around(
    optimizer: Any,
    name: str,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Wraps a method of this one optimizer; what `before` raises keeps it from being called."""
    original = getattr(optimizer, name)

    @functools.wraps(original)
    def wrapped(_: Any, *args: Any, **kwargs: Any) -> Any:
        before()
        result = original(*args, **kwargs)
        after()
        return result

    # A bound method, as schedulers and scalers expect; a copy of an optimizer has its class's own.
    setattr(optimizer, name, types.MethodType(wrapped, optimizer))
