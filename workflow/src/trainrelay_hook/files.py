"""The files that ranks and their supervisor share, in one folder of the attempt; it imports this, too.

settings.json       written by the supervisor, named by the environment: {"format": 1, "not_finite": true}
rank-R.json         by each rank: {"format": 1, "attached": ["mmcv.runner"], "error": null}
not-finite-R.json   by each rank that stopped: see `not_finite`
telemetry-R.json    by each rank, again and again: see `telemetry`
"""

from __future__ import annotations

import os

VARIABLE = "TRAINRELAY_HOOK"  # in a rank's environment: the path of settings.json
FORMAT = 1
FOLDER = "hook"  # in the attempt's folder
SETTINGS = "settings.json"
NOTE = "rank-{}.json"
STOPPED = "not-finite-{}.json"
TELEMETRY = "telemetry-{}.json"
RUNNER = "mmcv.runner"  # the module that the stop attaches to
OPTIMIZER = "torch.optim.optimizer"  # these two are the telemetry's
LOADER = "torch.utils.data.dataloader"
COUNTS = ("steps", "batches", "waiting")  # in a rank's file in memory, as numbers of 8 bytes
COUNTS_NAME = "trainrelay-steps"
LOADED = '{"format": 1, "attached": [], "error": null}'  # a rank's note until it attaches


def rank() -> str:
    """This process's rank, as its launcher says; digits, for it becomes part of a file's name."""
    text = os.environ.get("RANK", "")
    return text if text.isdigit() and len(text) <= 6 else "0"


def folder() -> str:
    """The attempt's folder for these files."""
    return os.path.dirname(os.environ[VARIABLE])


def write(name: str, text: str, *, over: bool = True, sync: bool = True) -> None:
    """Writes a file all or nothing; an older one stays unless `over`. OSError."""
    path = os.path.join(folder(), name.format(rank()))
    if not over and os.path.exists(path):
        return
    aside = "{}.{}.tmp".format(path, os.getpid())
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
