"""The trainer's checkout: what must be there before a training starts, and which code it holds."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from trainrelay.command import LaunchRequest

_GIT_TIMEOUT_S = 60


def missing(request: LaunchRequest, initial: Path | None) -> Iterator[str]:
    """One sentence for each thing a start needs and does not find, saying what to type."""
    root = Path(request.root)
    if not root.is_dir():
        yield f"the trainer's checkout {root} does not exist; clone it there, or set trainer.root to yours"
        return
    for what, name, key in (("script", request.entry, "trainer.entry"), ("config", request.config, "config")):
        if not (root / name).is_file():
            yield f"the training {what} {root / name} does not exist; set {key} in the config"
    if shutil.which(request.interpreter) is None:
        yield f"the interpreter {request.interpreter} was not found; set trainer.interpreter in the config"
    if request.nodes > 1:
        yield f"resources.nodes is {request.nodes}; this version trains on one node: set it to 1"
    if initial is not None and not initial.is_file():
        yield (
            f"the initial checkpoint {initial} does not exist; put it there, or set load_from in the "
            "trainer config"
        )


def code_state(root: Path) -> str | None:
    """Commit and digest of uncommitted changes; None where git or a repository is missing."""
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "diff", "HEAD", "--", ".")
    if commit is None or changes is None:
        return None
    dirty = f" with changes {hashlib.sha256(changes).hexdigest()[:12]}" if changes else ""
    return commit.decode().strip() + dirty


def _git(root: Path, *arguments: str) -> bytes | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(
            [git, "-C", str(root), *arguments], capture_output=True, timeout=_GIT_TIMEOUT_S, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout
