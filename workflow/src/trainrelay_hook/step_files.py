"""The folder of a step checkpoint: each rank's files, then by rank 0 the manifest that makes it one.

manifest.json  {"format": 1, "step": 1203, "epoch": 2, "iteration": 403, "epoch_length": 800, "world_size": 2,
               "exact": false, "request": null, "runner": "EpochBasedRunner", "sampler": "GroupSampler",
               "torch": "2.13.0", "mmcv": "1.7.2", "saved_s": 0.0, "stall_s": 0.1, "write_s": 2.3,
               "files": {"model.pt": {"bytes": 1, "sha256": ".."}, "rank-0.pt": ...}}
rank-R.json    {"format": 1, "files": {"rank-R.pt": {"bytes": 1, "sha256": ".."}}}, or "error" instead of "files"
*.pt           see `tensor_file`
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from contextlib import suppress
from typing import Any

from trainrelay_hook import files, tensor_file

RANKS_WITHIN_S = 300.0  # for all ranks to write their files, after rank 0 has written its own
_LOOK_S = 0.05


class NotWritten(Exception):
    """A rank's files are not there."""


class Fenced(Exception):
    """Another supervisor has the lease: nothing more may be written."""


class Claim:
    """The supervisor's claim, which is looked at before each write."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._folder, self._token = settings["claims"], settings["token"]

    def check(self) -> None:
        """Fenced where it is no longer the highest; OSError where that is not known."""
        if files.fenced(self._folder, self._token):
            raise Fenced


def write_rank(
    folder: str, rank: int, content: dict[str, tensor_file.Copied] | Exception, claim: Claim
) -> None:
    """Writes a rank's files, and then that they are there, or why not. Fenced, OSError."""
    written = os.path.join(folder, files.WRITTEN.format(rank))
    try:
        claim.check()
        os.makedirs(folder, exist_ok=True)
        if isinstance(content, Exception):
            raise content
        facts = {name: copied.write(os.path.join(folder, name)) for name, copied in content.items()}
        files.put(written, json.dumps({"format": files.FORMAT, "files": facts}))
    except Fenced:
        raise
    except Exception as error:
        for name in content if isinstance(content, dict) else ():  # makes room for the word
            _remove(os.path.join(folder, name + ".tmp"))
        with suppress(OSError):
            files.put(written, json.dumps({"format": files.FORMAT, "error": str(error)[:500]}))
        raise


def complete(folder: str, facts: dict[str, Any], claim: Claim) -> None:
    """Rank 0, after its own files: waits for those of all others, then writes the manifest. NotWritten."""
    until_s, ranks = time.monotonic() + RANKS_WITHIN_S, range(facts["world_size"])
    there: dict[str, Any] = {}
    for rank in ranks:
        word = _read(os.path.join(folder, files.WRITTEN.format(rank)))
        while word is None:
            # A trainer that ends waits for this thread; the other ranks may be gone already.
            if time.monotonic() > until_s or not threading.main_thread().is_alive():
                raise NotWritten("rank {} has not written its files".format(rank))
            time.sleep(_LOOK_S)
            word = _read(os.path.join(folder, files.WRITTEN.format(rank)))
        if "files" not in word:
            raise NotWritten("rank {}: {}".format(rank, word.get("error")))
        there.update(word["files"])
    claim.check()
    manifest = {"format": files.FORMAT, **facts, "files": there}
    files.put(os.path.join(folder, files.MANIFEST), json.dumps(manifest))


def remove_older(folder: str, keep: int) -> None:
    """Keeps the newest ones; a folder without a manifest below the newest is what a failure left."""
    steps = [name for name in sorted(os.listdir(folder), reverse=True) if name.isdigit()]
    valid = [name for name in steps if os.path.exists(os.path.join(folder, name, files.MANIFEST))]
    for name in steps:
        if name < valid[0] and name not in valid[:keep]:
            remove(os.path.join(folder, name))


def remove(folder: str) -> None:
    """Its manifest first: without it the rest is nothing."""
    _remove(os.path.join(folder, files.MANIFEST))
    shutil.rmtree(folder, ignore_errors=True)


def manifest_of(folder: str) -> dict[str, Any]:
    """The manifest of a step checkpoint, ValueError if it is of another format. OSError."""
    with open(os.path.join(folder, files.MANIFEST), encoding="utf-8") as file:
        manifest: dict[str, Any] = json.load(file)
    if manifest["format"] != files.FORMAT:
        raise ValueError("a step checkpoint of format {}".format(manifest["format"]))
    return manifest


def read(folder: str, manifest: dict[str, Any], name: str) -> Any:
    """The content of a file that is as it was written. OSError, ValueError."""
    path = os.path.join(folder, name)
    if tensor_file.digest(path) != manifest["files"][name]:
        raise ValueError("{} is not as it was written".format(path))
    return tensor_file.read(path)


def _read(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def _remove(path: str) -> None:
    with suppress(OSError):
        os.remove(path)
