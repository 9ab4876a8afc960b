"""Step checkpoints as the hook leaves them, their content made up."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from trainrelay_hook import files

LENGTH = 20  # iterations of an epoch


def write_step(attempt: Path, step: int, /, ranks: int = 2, **changes: Any) -> Path:
    """A whole one in an attempt's folder; `changes` replace what its manifest says."""
    folder = attempt / files.STEPS / files.STEP.format(step)
    folder.mkdir(parents=True)
    written = {}
    for name in (files.MODEL, *(files.OF_RANK.format(rank) for rank in range(ranks))):
        content = f"{name} of step {step}".encode()
        (folder / name).write_bytes(content)
        written[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "format": 1,
        "step": step,
        "epoch": (step - 1) // LENGTH + 1,
        "iteration": (step - 1) % LENGTH + 1,
        "epoch_length": LENGTH,
        "world_size": ranks,
        "exact": False,
        "request": None,
        "runner": "EpochBasedRunner",
        "sampler": "DistributedGroupSampler",
        "torch": "2.13.0",
        "mmcv": "1.7.2",
        "saved_s": 1000.0 + step,
        "stall_s": 0.1,
        "write_s": 2.3,
        "files": written,
        **changes,
    }
    aside = folder / "aside"
    aside.write_text(json.dumps(manifest))
    aside.replace(folder / files.MANIFEST)
    return folder
