"""The random number generators of this process: their states taken, put back, seeded for one sample."""

from __future__ import annotations

import hashlib
import random
import sys
from typing import Any

import torch


def taken() -> dict[str, Any]:
    """The states of Python's generator, NumPy's and torch's, and that of the current GPU."""
    states: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if "numpy" in sys.modules:
        states["numpy"] = sys.modules["numpy"].random.get_state()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def put_back(states: dict[str, Any]) -> None:
    """What `taken` gave."""
    random.setstate(states["python"])
    torch.set_rng_state(states["torch"])
    if "numpy" in states:
        sys.modules["numpy"].random.set_state(states["numpy"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def seed(*of: Any) -> None:
    """Seeds those that a sample's random draws come from; the GPU's are left alone."""
    digest = hashlib.sha256("/".join(map(str, of)).encode()).digest()
    random.seed(digest[:8])
    torch.default_generator.manual_seed(int.from_bytes(digest[8:15], "little"))
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(int.from_bytes(digest[16:20], "little"))
