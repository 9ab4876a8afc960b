"""The folder of a submission: its pickle is what a job runs, and a job without one never runs anything.

submitit names it after the job once sbatch has answered; until then the job waits for it, for a minute.
"""

from __future__ import annotations

import re
from pathlib import Path

_UNNAMED = re.compile(r"[0-9a-f]{32}")


def gives_pickle(folder: Path, job_id: str) -> bool:
    """Whether a job has what it is to run; the pickle gets the job's name if sbatch's answer was lost."""
    named = folder / f"{job_id}_submitted.pkl"
    if named.exists():
        return True
    unnamed = [path for path in folder.glob("*.pkl") if _UNNAMED.fullmatch(path.stem)]
    if len(unnamed) != 1:
        return False
    unnamed[0].rename(named)
    return True
