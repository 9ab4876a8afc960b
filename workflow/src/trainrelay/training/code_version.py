"""Which code the trainer's checkout holds."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_GIT_TIMEOUT_S = 60  # git diff looks at each file; a file system that hangs must not stop a start


@dataclass(frozen=True, slots=True)
class CodeVersion:
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


def code_version(root: Path) -> CodeVersion | None:
    """The code of a checkout; None where git or a repository is missing."""
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "diff", "HEAD", "--", ".")
    return None if commit is None or changes is None else CodeVersion(commit.decode().strip(), changes)


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
