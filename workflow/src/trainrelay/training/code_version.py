"""Which code the trainer's checkout holds.

A checkout may be anybody's, and its settings name programs that git runs. So git compares in a repository of
ours, which has of the checkout only its objects, its files and a copy of its index. Filters of your own
settings (git-lfs) still count.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_GIT_TIMEOUT_S = 60  # git diff looks at each file; a file system that hangs must not stop a start
# Also of your own settings: what they change is not what is asked for here.
_RUN_NOTHING = ("--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
# A submodule counts by its commit: to look for changes in it, git would read its settings.
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty")
_SHA256 = "[core]\nrepositoryformatversion = 1\n[extensions]\nobjectformat = sha256\n"
_HARMLESS = r"^core\.(filemode|symlinks|ignorecase|autocrlf|eol)$"  # how files compare on this file system


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
    where = ("--show-toplevel", "--git-path", "objects", "--git-path", "index", "HEAD")
    found = os.fsdecode(_git(root, "rev-parse", *where) or b"").split("\n")
    if len(found) != 5:  # also where a path holds a line break
        return None
    top, objects, index, commit, _ = found
    settings = os.fsdecode(_git(root, "config", "--get-regexp", _HARMLESS) or b"").splitlines()
    said = [word for one in settings for word in ("-c", one.replace(" ", "=", 1))]
    with tempfile.TemporaryDirectory(prefix="trainrelay-git-") as bare:
        Path(bare, "refs").mkdir()
        Path(bare, "HEAD").write_text(f"{commit}\n", encoding="utf-8")
        if len(commit) == 64:  # digits of sha256
            Path(bare, "config").write_text(_SHA256, encoding="utf-8")
        try:
            # A split index has a second file.
            for part in (root / index, *(root / index).parent.glob("sharedindex.*")):
                shutil.copy2(part, Path(bare, part.name))  # with its time, by which git looks
        except OSError:
            return None
        ours = {"GIT_DIR": bare, "GIT_WORK_TREE": top, "GIT_OBJECT_DIRECTORY": str(root / objects)}
        changes = _git(root, *said, "diff", *_PLAIN, commit, "--", ".", **ours)
    return None if changes is None else CodeVersion(commit, changes)


def _git(root: Path, *arguments: str, **variables: str) -> bytes | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(
            [git, *_RUN_NOTHING, "-C", str(root), *arguments],
            env={**os.environ, **variables},
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout
