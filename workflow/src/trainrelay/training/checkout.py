"""The trainer's checkout: what must be there before a training starts, and which code it holds."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainrelay.trainers import LaunchRequest

_GIT_TIMEOUT_S = 60


def missing(request: LaunchRequest, initial: Path | None, parent: str | None) -> Iterator[str]:
    """One sentence for each thing a start needs and does not find, saying what to run."""
    root = Path(request.root)
    if not root.is_dir():
        yield f"the trainer's checkout {root} does not exist; clone it there, or set trainer.root to yours"
        return
    for what, name, key in (("script", request.entry, "trainer.entry"), ("config", request.config, "config")):
        if not (root / name).is_file():
            yield f"the training {what} {root / name} does not exist; set `{key}` to a file that exists"
    if request.facts.problem and (root / request.config).is_file():
        why = f"{request.facts.problem}; write it so that it can be read without running it"
        yield f"the training config {root / request.config} cannot be read: {why}"
    if shutil.which(request.interpreter) is None:
        yield f"the interpreter {request.interpreter} was not found; set trainer.interpreter in the config"
    if initial is not None and not initial.is_file():
        typed = f"run: snakemake --profile local --forcerun promote_{parent}"
        own = "put it there, or name another in the trainer config"
        yield f"the initial checkpoint {initial} does not exist; {typed if parent else own}"


@dataclass(frozen=True, slots=True)
class Code:
    """The trainer's code: its commit, and what was changed since without being committed."""

    commit: str
    changes: bytes

    @property
    def name(self) -> str:
        """One line that tells two states of the code apart."""
        return f"{self.commit} with changes {self.digest}" if self.changes else self.commit

    @property
    def digest(self) -> str:
        """The changes' digest."""
        return hashlib.sha256(self.changes).hexdigest()[:12]


def code(root: Path) -> Code | None:
    """The code of a checkout; None where git or a repository is missing."""
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "diff", "HEAD", "--", ".")
    return None if commit is None or changes is None else Code(commit.decode().strip(), changes)


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
