"""The files that ranks and their supervisor share, in two folders of the attempt; it imports this, too.

hook/settings.json      written by the supervisor, named by the environment: {"format": 1, "not_finite": true,
                        "steps": null or {"every_s": 600.0, "keep": 2, "failures_max": 3, "exact": false,
                        "folder": "../steps", "claims": "the lease's folder", "token": 7},
                        "resume": null or {"path": "the folder of a step checkpoint"},
                        "initial": null or {"path": "the initial checkpoint", "match_min": null or 0.9}}
hook/save-now           by the supervisor: {"format": 1, "request": 1}; each number asks for a step checkpoint
hook/rank-R.json        by each rank: {"format": 1, "attached": ["mmcv.runner"], "error": null}, and where
                        there is something to say "steps", "resumed", "not_resumed", "save_error": see `notes`
hook/not-finite-R.json  by each rank that stopped: see `not_finite`
hook/initial.json       by rank 0: what of the model came from the initial checkpoint, see `initial_weights`
hook/telemetry-R.json   by each rank, again and again: see `telemetry`
steps/00001203/         a step checkpoint: see `step_files`; without its manifest it is none
"""

from __future__ import annotations

import _thread
import os
from contextlib import suppress

VARIABLE = "TRAINRELAY_HOOK"  # in a rank's environment: the path of settings.json
FORMAT = 1
FOLDER = "hook"  # in the attempt's folder
SETTINGS = "settings.json"
REQUEST = "save-now"
NOTE = "rank-{}.json"
STOPPED = "not-finite-{}.json"
INITIAL = "initial.json"
TELEMETRY = "telemetry-{}.json"
RUNNERS = ("mmcv.runner", "mmengine.runner")  # the modules that stop and step checkpoints attach to
OPTIMIZER = "torch.optim.optimizer"  # these two are the telemetry's
LOADER = "torch.utils.data.dataloader"
SERIALIZATION = "torch.serialization"  # where torch.load is
COUNTS = ("steps", "batches", "waiting")  # in a rank's file in memory, as numbers of 8 bytes
COUNTS_NAME = "trainrelay-steps"
LOADED = '{"format": 1, "attached": [], "error": null}'  # a rank's note until it attaches

STEPS = "steps"  # in the attempt's folder
STEP = "{:08d}"  # in that: a step checkpoint's folder, by the optimizer's iterations that are done
MODEL = "model.pt"  # by rank 0
OF_RANK = "rank-{}.pt"  # by each rank
WRITTEN = "rank-{}.json"  # by each rank, once its files are synced
MANIFEST = "manifest.json"  # by rank 0, last
_CLAIM_DIGITS = (6, 12)  # of a claim's file in a lease's folder, as supervise/lease/folder.py names them


def rank() -> str:
    """This process's rank, as its launcher says; digits, for it becomes part of a file's name."""
    text = os.environ.get("RANK", "")
    return text if text.isdigit() and len(text) <= 6 else "0"


def folder() -> str:
    """The attempt's folder for these files."""
    return os.path.dirname(os.environ[VARIABLE])


def write(name: str, text: str, *, over: bool = True, sync: bool = True) -> None:
    """Writes a file of this rank's all or nothing; an older one stays unless `over`. OSError."""
    path = os.path.join(folder(), name.format(rank()))
    if over or not os.path.exists(path):
        put(path, text, sync=sync)


def put(path: str, text: str, *, sync: bool = True) -> None:
    """Writes a file aside, syncs unless told not to, and renames it. OSError."""
    aside = "{}.{}.{}.tmp".format(path, os.getpid(), _thread.get_ident())
    try:
        with open(aside, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        if os.path.exists(aside):  # the next one of this process would find its name taken
            os.unlink(aside)
        raise
    if sync:
        sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Makes the names in a folder outlive a power cut. OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(step: str) -> None:
    """Removes a step checkpoint, its manifest first: without it the rest is nothing."""
    import shutil  # noqa: PLC0415 - as below

    with suppress(OSError):
        os.remove(os.path.join(step, MANIFEST))
    shutil.rmtree(step, ignore_errors=True)


def requested() -> int:
    """The number of the supervisor's newest request for a step checkpoint; 0: none."""
    import json  # noqa: PLC0415 - not in every process that a rank starts

    try:
        with open(os.path.join(folder(), REQUEST), encoding="utf-8") as file:
            return max(0, int(json.load(file)["request"]))
    except (OSError, KeyError, TypeError, ValueError):  # none, or not one of ours
        return 0


def fenced(claims: str, token: int) -> bool:
    """Whether the lease in the folder `claims` has a claim above `token`: another supervisor's. OSError.

    One that adopts this attempt puts its token into the settings.
    """
    import json  # noqa: PLC0415 - as in `requested`

    stems = [name[: -len(".json")] for name in os.listdir(claims) if name.endswith(".json")]
    low, high = _CLAIM_DIGITS
    newest = max([int(stem) for stem in stems if stem.isdigit() and low <= len(stem) <= high] or [0])
    if newest > token and VARIABLE in os.environ:
        with open(os.environ[VARIABLE], encoding="utf-8") as file:
            token = json.load(file)["steps"]["token"]
    return newest > token
