"""Stops a training before the optimizer step that would spoil its weights.

Only what reaches `optimizer.step` is judged: a trainer that skips such a step itself continues, and so does
one whose loss scaler skips it. Judged are:

- the gradients: DDP averages them, so all ranks see the same. Where they are clipped, the norm tells. A loss
  that is not finite stops nothing by itself: a trainer may replace it before it goes into the gradients.
- each part of the loss that `torch.nan_to_num` hides, until the gradients that it went into are zeroed. One
  rank alone may have it, so the ranks tell each other (`agreement`).

What a rank saw is in its not-finite-R.json:

    {"format": 1, "rank": 0, "step": 3528, "epoch": 2, "iteration": 11, "loss": "nan", "hidden": ["nan"],
     "parameters": ["head.weight"], "more_parameters": 0, "samples": ["17"]}
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch

from trainrelay_hook import files, optimizers
from trainrelay_hook.agreement import Agreement
from trainrelay_hook.runners import Runner

_MOST_NAMES = 20  # of parameters and samples: enough to begin a search
_MOST_HIDDEN = 4096  # in one forward pass
_MOST_NODES = 32  # of a batch's containers, and of a loss's computation, that are looked through

_current: Guard | None = None  # that of the runner which is within an iteration of training


class NotFinite(FloatingPointError):
    """Raised on every rank instead of the optimizer step."""


class Guard:
    """What one rank knows of its runner's next optimizer step."""

    def __init__(self, runner: Runner, agreement: Agreement) -> None:
        self._runner, self._agreement = runner, agreement
        self._hidden: deque[tuple[torch.Tensor, Any]] = deque(maxlen=_MOST_HIDDEN)
        self._forward = False
        self._own: dict[str, Any] = {}  # what this rank saw in this iteration, for its file
        # The same of an iteration before that had a hidden one and whose gradients are still there.
        self._carried: dict[str, Any] | None = None
        self._sound: set[int] = set()  # ids of the parameters whose common norm was finite
        self._broken: list[str] = []  # names of those whose gradients were not, before they were clipped
        for optimizer in runner.optimizers:
            optimizers.around(optimizer, "step", before=functools.partial(self._check, optimizer))
            optimizers.around(optimizer, "zero_grad", before=self._let_go)

    def begin_forward(self) -> None:
        """An iteration begins."""
        global _current
        _current, self._forward = self, True
        self._hidden.clear()
        self._own, self._sound, self._broken = {}, set(), []

    def hides(self, loss: torch.Tensor) -> None:
        """`nan_to_num` is given a loss; whether it is finite is asked when all are there, at once."""
        if self._forward:
            self._hidden.append((loss.detach().clone(), loss.grad_fn))

    def begin_update(self) -> bool:
        """The forward pass is done: whether this rank saw a hidden loss, which all must know."""
        self._forward = False
        loss: str | None = None
        hidden: list[str] = []
        with suppress(Exception):  # an unknown kind of loss; the others wait for this rank's word
            loss, hidden = self._losses()
            self._own = {"loss": loss, "hidden": hidden, "samples": []} if loss or hidden else {}
            if self._own:
                self._own["samples"] = sorted(_samples(self._runner.data_batch))[:_MOST_NAMES]
        self._hidden.clear()
        return bool(hidden)

    def end_update(self) -> None:
        """An iteration has ended, with a step or without."""
        global _current  # noqa: PLW0603 - torch's functions are everybody's
        _current = None
        if self._any_hidden() and any(map(_has_gradients, self._runner.optimizers)):
            self._carried = self._own

    def clips(self, parameters: Sequence[Any], norm_is_finite: bool) -> None:
        """Gradients are about to be clipped, which would make all of them NaN if one is."""
        if norm_is_finite:
            self._sound.update(map(id, parameters))
        else:
            self._broken = self._names(_not_finite(parameters))

    def _losses(self) -> tuple[str | None, list[str]]:
        """This iteration's loss and its hidden ones, as text, as far as they are not finite."""
        loss = self._runner.loss
        own = [(loss.detach(), None)] if isinstance(loss, torch.Tensor) and loss.numel() == 1 else []
        looked_at = [*own, *self._hidden]
        flat = [value.reshape(()) for value, _ in looked_at]
        # All at once: on a GPU each look waits for what it computes.
        alike = [value.to(flat[0].device, torch.float64) for value in flat]
        numbers = torch.stack(alike).tolist() if alike else []
        bad = [not math.isfinite(number) for number in numbers]
        hidden = [
            place
            for place in range(len(own), len(bad))
            if bad[place] and not _of_nothing(looked_at[place][1]) and _goes_into(loss, looked_at[place][1])
        ]
        return repr(numbers[0]) if own and bad[0] else None, [repr(numbers[place]) for place in hidden]

    def _any_hidden(self) -> bool:
        return any(self._agreement.hear()[:1])

    def _let_go(self) -> None:
        self._carried = None

    def _check(self, optimizer: Any) -> None:
        # A fused optimizer is called by its loss scaler to skip.
        skipped = getattr(optimizer, "found_inf", None)
        if skipped is not None and bool(skipped):
            return
        broken: list[str] = []
        with suppress(Exception):  # an unknown kind of gradient
            broken = self._broken_gradients(optimizer)
        if self._any_hidden() or self._carried is not None or broken:
            self._stop(broken)

    def _broken_gradients(self, optimizer: Any) -> list[str]:
        """The names of the parameters that this optimizer would spoil."""
        unknown = [one for one in _with_gradients(optimizer) if id(one) not in self._sound]
        if not unknown or math.isfinite(_norm([_values(one) for one in unknown])):
            return []
        broken = _not_finite(unknown)
        return broken and (self._broken or self._names(broken))

    def _names(self, parameters: Sequence[Any]) -> list[str]:
        names = {id(one): name for name, one in self._runner.model.named_parameters()}
        return [names.get(id(one), "a parameter outside of the model") for one in parameters]

    def _stop(self, broken: Sequence[str]) -> None:
        runner = self._runner
        step = runner.iter + 1
        iteration = runner.inner_iter + 1 if runner.by_epoch else step
        place = {"step": step, "epoch": runner.epoch + 1, "iteration": iteration}
        own = self._own or self._carried or {"loss": None, "hidden": [], "samples": []}
        names = [name[len("module.") :] if name.startswith("module.") else name for name in broken]
        more = max(0, len(names) - _MOST_NAMES)
        seen = {**own, "parameters": names[:_MOST_NAMES], "more_parameters": more}
        record = {"format": files.FORMAT, "rank": int(files.rank()), **place, **seen}
        with suppress(OSError):  # the exception says it, too
            files.write(files.STOPPED, json.dumps(record))
        self._agreement.part()
        raise NotFinite(
            "trainrelay stopped before the optimizer step of epoch {epoch}, iteration {iteration}:"
            " a loss or a gradient is not finite".format(**place)
        )


@functools.lru_cache(None)  # both families may be imported
def watch_torch() -> None:
    """Tells the current guard what is hidden and what is clipped; outside of a training nothing changes."""
    for owner in (torch, torch.Tensor):
        for name in ("nan_to_num", "nan_to_num_"):
            setattr(owner, name, _telling(getattr(owner, name)))
    clip = _before_clipping(torch.nn.utils.clip_grad.clip_grad_norm_)
    torch.nn.utils.clip_grad.clip_grad_norm_ = torch.nn.utils.clip_grad_norm_ = clip


def _telling(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def nan_to_num(input: Any, *args: Any, **kwargs: Any) -> Any:
        # Outside of a training nothing is asked of it.
        if _current and isinstance(input, torch.Tensor) and input.requires_grad and input.numel() == 1:
            _current.hides(input)
        return original(input, *args, **kwargs)

    torch.jit._builtins._register_builtin(nan_to_num, "aten::" + original.__name__)  # for torch.jit.script
    return nan_to_num


def _before_clipping(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def clip_grad_norm_(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        if _current is None or len(args) > 2:
            return original(parameters, *args, **kwargs)
        parameters = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
        try:
            norm = original(parameters, *args, **{**kwargs, "error_if_nonfinite": True})
        except RuntimeError:  # before it has changed a gradient
            _current.clips(parameters, norm_is_finite=False)
            return original(parameters, *args, **kwargs)
        _current.clips(parameters, norm_is_finite=True)
        return norm

    return clip_grad_norm_


def _with_gradients(optimizer: Any) -> list[Any]:
    return [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]


def _has_gradients(optimizer: Any) -> bool:
    return any(bool(_values(one).any()) for one in _with_gradients(optimizer))


def _values(parameter: Any) -> Any:
    gradient = parameter.grad
    return gradient._values() if gradient.is_sparse else gradient


def _norm(gradients: list[Any]) -> float:
    """One number for all, not finite where one of theirs is not; a finite one may be too large for it."""
    at_once = getattr(torch, "_foreach_norm", None)
    each = at_once(gradients) if at_once else [one.norm() for one in gradients]
    return float(torch.stack([one.to(each[0].device, torch.float32) for one in each]).sum())


def _not_finite(parameters: Sequence[Any]) -> list[Any]:
    having = [one for one in parameters if one.grad is not None]
    return [one for one in having if not bool(torch.isfinite(_values(one)).all())]


def _of_nothing(node: Any) -> bool:
    """Whether a loss is the mean of nothing, as of a sample without objects: hidden by design, harmless."""
    near = itertools.islice(_computation(node), _MOST_NODES)
    sizes = (getattr(one, "_saved_self_sym_sizes", getattr(one, "_saved_self_sizes", ())) for one in near)
    return any(0 in tuple(size) for size in sizes)


def _goes_into(loss: Any, node: Any) -> bool:
    """Whether a value is part of a loss, and not only of what is logged; True where that is not known."""
    if not isinstance(loss, torch.Tensor) or loss.grad_fn is None or node is None:
        return True
    return any(one is node for one in _computation(loss.grad_fn))


def _computation(node: Any) -> Iterator[Any]:
    """The steps by which a value was computed, its own first."""
    waiting, seen = deque([node]), set()
    while waiting:
        one = waiting.popleft()
        if one is not None and one not in seen:
            seen.add(one)
            yield one
            waiting.extend(following for following, _ in getattr(one, "next_functions", ()))


def _samples(batch: Any) -> set[str]:
    """What mmdet's `img_metas` or data samples call the samples of a batch, however deep they are packed."""
    keys = ("img_metas", "data_samples")
    packed = deque([batch[key] for key in keys if key in batch] if isinstance(batch, dict) else [])
    found: set[str] = set()
    for _ in range(_MOST_NODES):
        if not packed:
            break
        one = packed.popleft()
        one = getattr(one, "metainfo", getattr(one, "data", one))  # of a data sample; mmcv's DataContainer
        if isinstance(one, dict) and {"sample_idx", "img_id"} & one.keys():
            found.add(str(one.get("sample_idx", one.get("img_id")))[:80])
        elif isinstance(one, dict):
            packed.extend(one.values())
        elif isinstance(one, (list, tuple)):
            packed.extend(one)
    return found
