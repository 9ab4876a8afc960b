"""The learning rate that mmcv's LrUpdaterHooks set, from the trainer config.

Source of the formulas: mmcv/runner/hooks/lr_updater.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Length:
    """How long the schedule is; `iters_per_epoch` as far as the log says it."""

    epochs: int | None
    iters: int | None
    iters_per_epoch: int | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """`lr_config` of a trainer config, with a policy that `regular` knows."""

    policy: str
    base: float
    length: Length
    options: Mapping[str, Any]

    def at(self, epoch: int, iteration: int) -> float | None:
        """The rate in use at a 0-based epoch and a 0-based iteration over the whole run."""
        regular = self._regular(epoch if self._by_epoch else iteration)
        warmup_iters = self._warmup_iters()
        if regular is None or not self.options.get("warmup") or iteration >= warmup_iters:
            return regular
        return self._warm(regular, iteration / warmup_iters)

    @property
    def _by_epoch(self) -> bool:
        return bool(self.options.get("by_epoch", True))

    def _number(self, key: str, default: float) -> float:
        value = self.options.get(key)
        return float(value) if isinstance(value, int | float) else default

    def _warmup_iters(self) -> float:
        iters = self._number("warmup_iters", 0)
        return iters * (self.length.iters_per_epoch or 0) if self.options.get("warmup_by_epoch") else iters

    def _warm(self, regular: float, share: float) -> float | None:
        ratio = self._number("warmup_ratio", 0.1)
        match self.options["warmup"]:
            case "constant":
                return regular * ratio
            case "linear":
                return regular * (1 - (1 - share) * (1 - ratio))
            case "exp":
                return regular * float(ratio ** (1 - share))
        return None

    def _regular(self, at: int) -> float | None:
        match self.policy:
            case "fixed":
                return self.base
            case "step":
                return self._step(at)
            case "exp":
                return self.base * float(self._number("gamma", 1.0) ** at)
            case "poly" | "cosineannealing":
                return self._over_the_run(at)
        return None

    def _step(self, at: int) -> float:
        steps = self.options.get("step")
        marks = [mark for mark in steps if isinstance(mark, int)] if isinstance(steps, list | tuple) else []
        drops = at // steps if isinstance(steps, int) and steps else sum(at >= mark for mark in marks)
        return max(self.base * float(self._number("gamma", 0.1) ** drops), self._number("min_lr", 0.0))

    def _over_the_run(self, at: int) -> float | None:
        end = self.length.epochs if self._by_epoch else self.length.iters
        if not end:
            return None
        share = min(1.0, at / end)
        if self.policy == "poly":
            low = self._number("min_lr", 0.0)
            return (self.base - low) * float((1 - share) ** self._number("power", 1.0)) + low
        low = self._number("min_lr", self.base * self._number("min_lr_ratio", 0.0))
        return low + 0.5 * (self.base - low) * (math.cos(math.pi * share) + 1)


POLICIES = ("fixed", "step", "exp", "poly", "cosineannealing")


def schedule(config: Mapping[str, Any], base: float, length: Length) -> Schedule | None:
    """The schedule of a flat trainer config, or None where its policy is not one of POLICIES."""
    options = {
        key.removeprefix("lr_config."): value for key, value in config.items() if key.startswith("lr_config.")
    }
    policy = str(options.get("policy", "")).lower()
    return Schedule(policy, base, length, options) if policy in POLICIES else None
