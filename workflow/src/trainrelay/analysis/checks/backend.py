"""The communication backend, if it is not the one that is made for GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from trainrelay.analysis.case import Case
from trainrelay.records import Finding


def backend(case: Case) -> Iterator[Finding]:
    """gloo on GPUs works and is slower; another backend than the workflow set is a warning."""
    seen, expected = case.log.setup.get("backend"), case.expectation.backend
    if seen and expected and seen != expected:
        yield Finding(
            "backend",
            "warning",
            f"The workflow set the {expected} backend, but the trainer's config has {seen}.",
            evidence={"expected": expected, "seen": seen},
            advice="Check that --cfg-options dist_params.backend=... reaches the trainer.",
        )
    on_gpus = "gpus" in case.log.setup or "memory" in case.names  # mmcv prints it only if there are GPUs
    if (seen or expected) == "gloo" and on_gpus:
        yield Finding(
            "backend",
            "info",
            "The gloo backend is in use on GPUs; it works, and is slower than NCCL.",
            evidence={"backend": "gloo"},
            advice="Try NCCL with NCCL_P2P_DISABLE=1 or NCCL_IB_DISABLE=1 before settling for gloo.",
        )
