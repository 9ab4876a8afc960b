"""The workflow's files that are not Python: in a clone's root, or in the installed package."""

from __future__ import annotations

from pathlib import Path

_LIBRARY = Path(__file__).resolve().parent
_IN_THE_WHEEL = _LIBRARY / "workflow_files"  # laid out as a clone, see pyproject.toml
ROOT = _IN_THE_WHEEL if _IN_THE_WHEEL.is_dir() else _LIBRARY.parents[2]
SNAKEFILE = str(ROOT / "workflow/Snakefile")


def templates() -> dict[str, Path]:
    """The configs that `trainrelay init` can begin with, by name."""
    return {path.stem: path for path in sorted((ROOT / "workflow/templates").glob("*.yaml"))}
