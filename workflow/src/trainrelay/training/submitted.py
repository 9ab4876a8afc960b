"""What one call of Snakemake submits, for its jobs whenever they start: its config, what each stage trains.

A file named by its content, whose digest is in the environment of every job. It is never removed: a job may
wait in a queue for longer than anything here lives.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainrelay.config import SNAPSHOTS, Config
from trainrelay.errors import Refusal
from trainrelay.records import Record
from trainrelay.system.files import content, make_folder, write_private
from trainrelay.system.hints import TYPED_VARIABLE
from trainrelay.training.code_version import code_version
from trainrelay.training.context import StageContext
from trainrelay.training.signature import UNREADABLE, Difference, comparable, differences, ingredients

CODE = "the trainer's code"  # beside the ingredients, of which it is none
SUBMITTED_VARIABLE = "TRAINRELAY_SUBMITTED"


class Submitted(Record):
    """`ingredients`, and the code if known: by RUN/STAGE; `typed`: the config as you named it."""

    typed: str | None
    config: dict[str, Any]
    ingredients: dict[str, dict[str, str]]


def submit(config: Config, parts: Mapping[str, Mapping[str, str]]) -> Path:
    """Makes this what the jobs that start from this process train; the file that says so."""
    named = {"typed": os.environ.get(TYPED_VARIABLE)}
    plain = config.model_dump(mode="json", by_alias=True)
    # In the order of the config: options are passed in it.
    data = json.dumps({**named, "config": plain, "ingredients": parts}, default=dict).encode()
    digest = hashlib.sha256(data).hexdigest()
    make_folder(_path(digest).parent)
    write_private(_path(digest), data)
    os.environ[SUBMITTED_VARIABLE] = digest
    return _path(digest)


def of_this_job() -> Submitted | None:
    """What this process was submitted for; None for a command that you typed.

    Refusal if the file is not what was submitted.
    """
    if not (digest := os.environ.get(SUBMITTED_VARIABLE)):
        return None
    try:
        found = Submitted.model_validate(json.loads(_content(digest) or b""))
    except ValueError:
        raise Refusal(
            f"{_path(digest)}, which says what this job was submitted for, is missing or damaged, so nothing"
            " is started; run: snakemake"
        ) from None
    if found.typed is not None:
        os.environ.setdefault(TYPED_VARIABLE, found.typed)
    return found


def changed_since(at: StageContext) -> list[Difference]:
    """Where what a stage would train now is not what was submitted."""
    if not (before := ingredients_submitted(at)):
        return []
    now = ingredients(at)
    if CODE in before:
        now[CODE] = code_version(at.root).name if at.config.on_code_change == "refuse" else before[CODE]
    changes = differences(comparable(before, before), comparable(now, before))
    # A trainer config that can be read no more says nothing of the rest.
    return [one for one in changes if one.key == UNREADABLE] or changes


def ingredients_submitted(at: StageContext) -> dict[str, str]:
    """And the code; empty for a command that you typed."""
    found = of_this_job()
    return found.ingredients.get(at.name, {}) if found else {}


def _path(digest: str) -> Path:
    return SNAPSHOTS / f"submitted-{digest}.json"


def _content(digest: str) -> bytes | None:
    """None if the file is absent or damaged."""
    try:
        data = content(_path(digest))
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None
