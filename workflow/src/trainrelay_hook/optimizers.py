"""What is done around the methods of one optimizer, or of another object."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any


def around(
    optimizer: Any,
    name: str,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Wraps a method of this one object; what `before` raises keeps it from being called."""
    original = getattr(optimizer, name)

    @functools.wraps(original)
    def wrapped(_: Any, *args: Any, **kwargs: Any) -> Any:
        before()
        result = original(*args, **kwargs)
        after()
        return result

    # A bound method, as schedulers and scalers expect; a copy of an optimizer has its class's own.
    setattr(optimizer, name, types.MethodType(wrapped, optimizer))
