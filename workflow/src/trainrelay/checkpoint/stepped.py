"""Which weights an optimizer steps, as far as a checkpoint's optimizer state proves it.

The state is kept by number, not by name, so a weight is known by its size: Adam, SGD with momentum and their
like keep numbers of the size of each weight that they step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import islice

from trainrelay.checkpoint.layout import nodes
from trainrelay.checkpoint.values import Tensor

Size = tuple[int, ...]
_MOST_KEPT = 16  # values for one weight; Adam keeps three, with amsgrad four


def stepped_sizes(optimizer: object, weights: Iterable[Tensor]) -> Collection[Size] | None:
    """The sizes of all weights that are stepped; None if the optimizer's state does not prove that."""
    if not isinstance(optimizer, dict) or _leaves_no_trace(optimizer.get("param_groups")):
        return None
    state = optimizer.get("state")
    kept = Counter(map(_size, state.values() if isinstance(state, dict) else ()))
    there = Counter(tensor.size for tensor in weights)
    # State that is not of its weight's size (factored, or of several weights in one) fits no weights.
    if not kept or any(size is None or count > there[size] for size, count in kept.items()):
        return None
    return {size for size in kept if size is not None}


def left_out(optimizer: object, model: Iterable[Tensor]) -> int:
    """How many tensors of a model are certainly none of its optimizer's; 0 where that is not known."""
    params = sum(len(one) for (_, key), one in nodes(optimizer) if key == "params" and isinstance(one, list))
    # Tied weights have two names.
    there = {(one.storage.key, one.start, one.size) for one in model if "float" in one.dtype}
    return max(0, len(there) - params) if params else 0


def _size(kept: object) -> Size | None:
    """Of what is kept for one weight the largest: its moments, not its number of steps."""
    values = kept.values() if isinstance(kept, dict) else ()
    tensors = [value for value in islice(values, _MOST_KEPT) if isinstance(value, Tensor)]
    return max(tensors, key=lambda tensor: tensor.numel).size if tensors else None


def _leaves_no_trace(groups: object) -> bool:
    """SGD without momentum keeps nothing of what it steps; RMSprop (alpha) does, whatever its momentum."""
    return not isinstance(groups, list) or any(
        not isinstance(group, dict) or (group.get("momentum") == 0 and "alpha" not in group)
        for group in groups
    )
