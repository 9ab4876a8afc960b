"""What a training is at a step, beyond its code, config and data: taken from a runner, and put into one.

Rank 0 keeps what is the same on all ranks, each rank what is its own. Of the attributes of Python that change
while a trainer trains: those of the model's modules and of the data set that are numbers, text or short
sequences of these, as a count of passes, or that an augmentation is over. Not kept: other attributes, and
those of its hooks.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from trainrelay_hook.data_order import Order
from trainrelay_hook.runners import Runner

_PLAIN = (bool, int, float, str, bytes, type(None))
_MOST = 16  # values in a sequence; a longer one is data
_ADDED = "ema_"  # buffers that a hook adds to the model in `before_run`, after it was checked that all fit
DATA = "data set"  # among the owners of attributes


def why_unknown(runner: Runner) -> str | None:
    """Why this training's state is not all in what is kept; None: it is."""
    if runner.world_size > 1 and not isinstance(runner.model, DistributedDataParallel):
        return "the model is in a {}, not in DistributedDataParallel".format(type(runner.model).__name__)
    shards = [type(one).__name__ for one in runner.optimizers if hasattr(one, "consolidate_state_dict")]
    return "the optimizer {} keeps a part of its state on each rank".format(shards[0]) if shards else None


def tensors(runner: Runner, *, pending: bool = False) -> dict[str, Any]:
    """The tensors that this rank keeps, not copies; `pending`: its gradients wait for another iteration's."""
    kept: dict[str, Any] = {"model": _named(runner, "named_buffers")}
    if not runner.rank:
        kept = {"model": _named(runner), "optimizers": [one.state_dict() for one in runner.stateful]}
    if pending:  # last: the memory for the rest stays
        kept["pending"] = {
            name: one.grad for name, one in runner.model.named_parameters() if one.grad is not None
        }
    return kept


def attributes(runner: Runner, order: Order) -> dict[str, dict[str, Any]]:
    """Copies of the plain ones, of each module of the model and of the data set."""
    return {
        name: {key: copy.copy(value) for key, value in own.items() if _plain(value)}
        for name, own in _owners(runner, order).items()
    }


def put_attributes(runner: Runner, order: Order, kept: dict[str, dict[str, Any]]) -> None:
    """Only where they are other than kept: a list that modules share stays one."""
    for name, own in _owners(runner, order).items():
        for key, one in kept.get(name, {}).items():
            if not _plain(own.get(key, own)) or own[key] != one:
                own[key] = one


def _changed(now: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without those that are as before: the config of each attempt sets these, as a path."""
    return {
        name: {key: one for key, one in own.items() if (key, one) not in before[name].items()}
        for name, own in now.items()
        if name in before
    }


def small(runner: Runner, order: Order, before: dict[str, dict[str, Any]]) -> bytes:
    """The rest of what each rank keeps. Pickled at once, for it changes with the next iteration."""
    now = attributes(runner, order)
    changed = _changed(now, before)
    if order.known is not None:  # its workers know nothing of what changed since
        changed[DATA] = {key: one for key, one in order.known.items() if now[DATA].get(key) != one}
        changed[DATA].update(_changed({DATA: order.known}, before)[DATA])
    kept = {
        **runner.kept(),
        **order.kept(),
        "attributes": changed,
        "gradients": [name for name, one in runner.model.named_parameters() if one.grad is not None],
    }
    return pickle.dumps(kept, protocol=4)


def unfit(runner: Runner, kept: dict[str, Any]) -> str | None:
    """Why these tensors are not those of this runner, before its hooks have added buffers; None: they are."""
    ours, theirs = _named(runner), kept["model"]
    for name, one in ours.items():
        if name not in theirs:
            return "the model's {} is not in it".format(name)
        if (theirs[name].shape, theirs[name].dtype) != (one.shape, one.dtype):
            return "the model's {} has another shape or type".format(name)
    for name in theirs:
        if name not in ours and not name.split(".")[-1].startswith(_ADDED):
            return "the model has no {}".format(name)
    counts = [[len(group["params"]) for group in one.param_groups] for one in runner.optimizers]
    saved = [[len(group["params"]) for group in one["param_groups"]] for one in kept["optimizers"]]
    return None if counts == saved else "the optimizer has other parameter groups"


def put_tensors(runner: Runner, kept: dict[str, Any]) -> None:
    """Into the model, where all of it must be, and its optimizers."""
    ours, theirs = _named(runner), kept["model"]
    if ours.keys() != theirs.keys():
        raise KeyError(*(ours.keys() ^ theirs.keys()))
    with torch.no_grad():
        for name, one in ours.items():
            one.copy_(theirs[name])
    for one, state in zip(runner.stateful, kept["optimizers"]):
        one.load_state_dict(state)


def put_gradients(runner: Runner, having: list[str], pending: dict[str, Any]) -> None:
    """As after a step, but for those that wait: one that is 0 an optimizer treats unlike none."""
    if pending and runner.accumulates_alone and getattr(runner.model, "find_unused_parameters", False):
        for one in (one for name, one in runner.model.named_parameters() if name in pending):
            one.sum().backward()  # DDP averages what it has seen to be used since the last time
    for name, one in runner.model.named_parameters():
        one.grad = torch.zeros_like(one) if name in having else None
        if name in pending:
            one.grad.copy_(pending[name])


def _owners(runner: Runner, order: Order) -> dict[str, dict[str, Any]]:
    """The attributes of the data set and of each module of the model, not of what distributes it."""
    models = ((name, getattr(one, "module", one)) for name, one in runner.modules.items())
    modules = {begin + name: one for begin, model in models for name, one in model.named_modules()}
    owners = {DATA: order.dataset, **modules}
    return {name: vars(one) for name, one in owners.items() if hasattr(one, "__dict__")}


def _plain(value: Any) -> bool:
    if type(value) in (tuple, list):
        return len(value) <= _MOST and all(type(one) in _PLAIN for one in value)
    return type(value) in _PLAIN


def _named(runner: Runner, *of: str) -> dict[str, torch.Tensor]:
    """Parameters and buffers, or those `of` one method of a module's."""
    return {
        begin + name: one
        for begin, module in runner.modules.items()
        for method in of or ("named_parameters", "named_buffers")
        for name, one in getattr(module, method)()
    }
