"""Communication backends by name: what each rung of a ladder sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Rung:
    """A named way for ranks to talk: torch's backend and the environment variables that go with it."""

    name: str
    backend: str
    env: Mapping[str, str]


RUNGS: Mapping[str, Rung] = MappingProxyType(
    {
        rung.name: rung
        for rung in (
            Rung("nccl", "nccl", {}),
            Rung("nccl-no-p2p", "nccl", {"NCCL_P2P_DISABLE": "1"}),
            Rung("nccl-no-ib", "nccl", {"NCCL_IB_DISABLE": "1"}),
            Rung("nccl-no-shm", "nccl", {"NCCL_SHM_DISABLE": "1"}),
            Rung("gloo", "gloo", {}),
        )
    }
)
