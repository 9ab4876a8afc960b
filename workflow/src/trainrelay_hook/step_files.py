"""The folder of a step checkpoint: each rank's files, then by rank 0 the manifest that makes it one.

manifest.json  {"format": 1, "step": 1203, "epoch": 2, "iteration": 403, "epoch_length": 800, "world_size": 2,
               "exact": false, "request": null, "runner": "EpochBasedRunner", "sampler": "GroupSampler",
               "torch": "2.13.0", "mmcv": "1.7.2", "saved_s": 0.0, "stall_s": 0.1, "write_s": 2.3,
               "files": {"model.pt": {"bytes": 1, "sha256": ".."}, "rank-0.pt": ...}}
rank-R.json    {"format": 1, "files": {"rank-R.pt": {"bytes": 1, "sha256": ".."}}}, or "error" for "files"
*.pt           see `tensor_file`
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from typing import Any

from trainrelay_hook import files, tensor_file

RANKS_WITHIN_S = 300.0  # for all ranks to write their files, after rank 0 has written its own
_LOOK_S = 0.05


class Fenced(Exception):
    """Another supervisor has the lease: nothing more may be written."""


def check_claim(settings: dict[str, Any]) -> None:
    """Before each write. Fenced; OSError where that is not known."""
    if files.fenced(settings["claims"], settings["token"]):
        raise Fenced


def write_rank(folder: str, rank: int, content: dict[str, tensor_file.Copied]) -> None:
    """Writes a rank's files, then that they are there. OSError."""
    os.makedirs(folder, exist_ok=True)
    facts = {name: copied.write(os.path.join(folder, name)) for name, copied in content.items()}
    _put(folder, files.WRITTEN.format(rank), files=facts)


def give_up(folder: str, rank: int, error: str) -> None:
    """Tells rank 0 that this one's files will not come; it removes all of it."""
    if rank:
        with suppress(OSError):
            _put(folder, files.WRITTEN.format(rank), error=error)
    else:
        files.remove(folder)


def complete(folder: str, facts: dict[str, Any], settings: dict[str, Any]) -> None:
    """Rank 0, after its own files: waits for the others', then writes the manifest. Fenced, OSError."""
    until_s = time.monotonic() + RANKS_WITHIN_S
    there: dict[str, Any] = {}
    for rank in range(facts["world_size"]):
        path = os.path.join(folder, files.WRITTEN.format(rank))
        while not os.path.exists(path):
            # A trainer that ends waits for this thread, and the other ranks may be gone already.
            if time.monotonic() > until_s or not threading.main_thread().is_alive():
                raise OSError("rank {} has not written its files".format(rank))
            time.sleep(_LOOK_S)
        with open(path, encoding="utf-8") as file:
            written = json.load(file)
        if "error" in written:
            raise OSError("rank {}: {}".format(rank, written["error"]))
        there.update(written["files"])
    check_claim(settings)
    _put(folder, files.MANIFEST, **facts, files=there)


def remove_older(folder: str, keep: int) -> None:
    """Keeps the newest ones; below these, a folder without a manifest is what a failure left."""
    steps = [name for name in sorted(os.listdir(folder), reverse=True) if name.isdigit()]
    valid = [name for name in steps if os.path.exists(os.path.join(folder, name, files.MANIFEST))]
    for name in steps:
        if name < valid[0] and name not in valid[:keep]:
            files.remove(os.path.join(folder, name))


def manifest_of(folder: str) -> dict[str, Any]:
    """The manifest of a step checkpoint, ValueError if it is of another format. OSError."""
    with open(os.path.join(folder, files.MANIFEST), encoding="utf-8") as file:
        manifest: dict[str, Any] = json.load(file)
    if manifest["format"] != files.FORMAT:
        raise ValueError("it is of format {}".format(manifest["format"]))
    return manifest


def read(folder: str, manifest: dict[str, Any], name: str) -> Any:
    """The content of a file that is as it was written. OSError, ValueError."""
    path = os.path.join(folder, name)
    if tensor_file.digest(path) != manifest["files"][name]:
        raise ValueError("{} is not as it was written".format(path))
    return tensor_file.read(path)


def _put(folder: str, name: str, **content: Any) -> None:
    files.put(os.path.join(folder, name), json.dumps({"format": files.FORMAT, **content}))
