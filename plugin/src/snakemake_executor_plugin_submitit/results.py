"""What a job reports of its end, in the result file that submitit writes for it."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

ResultEnd = Literal["done", "failed", "cancelled", "interrupted"]


@dataclass(frozen=True)
class Result:
    """`cancelled`: stopped because its controller asked; `interrupted`: stopped, to be run again."""

    end: ResultEnd
    reason: str


def read_result(folder: Path, job_id: str) -> Result | None:
    """What submitit wrote when the job's callable had returned, in whichever leg; None: not yet."""
    if (path := _result_file(folder, job_id)) is None:
        return None
    try:
        with path.open("rb") as file:
            outcome, value = _PlainUnpickler(file).load()
            return _result(str(outcome), value)
    except FileNotFoundError:
        return None
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        return Result("failed", f"its result file {path} cannot be read: {error}")


def _result_file(folder: Path, job_id: str) -> Path | None:
    # Listing the folder makes a network file system look again; a lookup by name may remember "no such file".
    try:
        return next(folder.glob(f"{job_id}_*result.pkl"), None)
    except OSError:
        return None


def _result(outcome: str, value: Any) -> Result:
    if outcome != "success":
        lines = str(value).strip().splitlines() or ["no reason given"]
        return Result("failed", f"the job itself broke: {lines[-1]}")
    if value["end"] not in get_args(ResultEnd):
        raise ValueError(f"no such end: {value['end']}")
    return Result(value["end"], str(value["reason"]))


class _PlainUnpickler(pickle.Unpickler):
    """Loads builtin containers, numbers and texts; nothing that would run code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"{module_name}.{global_name} does not belong there")
