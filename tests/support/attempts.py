"""An attempt's record for tests that look at a few of its fields."""

from __future__ import annotations

from typing import Any

from trainrelay.records import AttemptRecord, Place, ResumePoint


def an_attempt(number: int, resumed_epoch: int = 0, **fields: Any) -> AttemptRecord:
    """Attempt `number`, which began 100 s after the one before and ran for 50 s; `fields` replace others."""
    plain = {
        "number": number,
        "tag": str(number),
        "host": "node1",
        "supervisor_pid": 1,
        "place": Place(host="node1"),
        "supervisor_ticks": 1,
        "argv": [],
        "env": {},
        "cwd": "/",
        "log": "trainer.log",
        "backend": "gloo",
        "world_size": 8,
        "epochs": 6,
        "resumed_from": ResumePoint(path="x", epoch=resumed_epoch) if resumed_epoch else None,
        "started_s": 100.0 * number,
        "ended_s": 100.0 * number + 50,
    }
    return AttemptRecord.model_validate({**plain, **fields})
