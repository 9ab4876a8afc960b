"""Which code the trainer's checkout holds.

A checkout may be anybody's, and its `.git/config` names programs that git runs: fsmonitor, filters, textconv,
an external diff, whatever fetches what a partial clone lacks. So git compares in a repository of ours, which
has nothing of the checkout but its objects, a copy of its index and its files. Filters of your own settings
(git-lfs) still count.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_GIT_TIMEOUT_S = 60  # git diff looks at each file; a file system that hangs must not stop a start
# Also of your own settings, none of which would change what is read.
_RUN_NOTHING = ("--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
# What only says how files are to be compared on this file system.
_HARMLESS = r"^core\.(filemode|symlinks|ignorecase|autocrlf|eol)$"


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
    with tempfile.TemporaryDirectory(prefix="trainrelay-git-") as bare:
        Path(bare, "refs").mkdir()
        Path(bare, "HEAD").write_text(f"{commit}\n", encoding="utf-8")
        try:
            shutil.copy2(root / index, Path(bare, "index"))  # with its time, by which git looks
        except OSError:
            return None
        ours = {
            "GIT_DIR": bare,
            "GIT_WORK_TREE": top,
            "GIT_OBJECT_DIRECTORY": os.path.abspath(root / objects),  # noqa: PTH100 (keeps symlinks)
        }
        said = [word for one in settings for word in ("-c", "=".join(one.split(" ", 1)))]
        # Of a submodule its commit counts: to look for changes in it, git would read its settings.
        plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty")
        changes = _git(root, *said, "diff", *plain, commit, "--", ".", env=ours)
    return None if changes is None else CodeVersion(commit, changes)


def _git(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> bytes | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(
            [git, *_RUN_NOTHING, "-C", str(root), *arguments],
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", **(env or {})},
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout
