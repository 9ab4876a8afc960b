"""Which code the trainer's checkout holds.

A checkout may be anybody's, and its settings name programs that git runs. So git compares in a repository of
ours, which has of the checkout only its objects, its files and a copy of its index. Filters of your own
settings (git-lfs) still count.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainrelay.system.files import content
from trainrelay.text import printable

_GIT_TIMEOUT_S = 60  # git diff looks at each file; a file system that hangs must not stop a start
# Also of your own settings: what they change is not what is asked for here.
_RUN_NOTHING = ("--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
# A submodule counts by its commit: to look for changes in it, git would read its settings.
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty")
# What `trainrelay init` writes into a checkout is no code of the trainer; the trainer's own config.yaml is.
_OURS = tuple(f":(exclude){name}" for name in ("config.yaml", "site.yaml", "Snakefile", "profiles"))
_RUNS = re.compile(rb"^runs:", re.MULTILINE)
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


@dataclass(frozen=True, slots=True)
class NotKnown:
    """In the place of a version, where nobody knows it."""

    name: str  # why, in git's words
    failed: bool  # git, though there may be a repository


class _GitFailed(Exception): ...


def code_version(root: Path) -> CodeVersion | NotKnown:
    """The code of a checkout."""
    if any(os.path.lexists(folder / ".git") for folder in (root / ".git").absolute().parents):
        try:
            return _version(root)
        except _GitFailed as error:
            if not str(error).startswith("not a git repository (or any"):
                why = "no commit yet" if "ambiguous argument 'HEAD'" in str(error) else error
                return NotKnown(f"not known (of {root}: {why})", failed=True)
    return NotKnown(f"not known ({root} is no git checkout)", failed=False)


def _version(root: Path) -> CodeVersion:
    where = ("--show-toplevel", "--git-path", "objects", "--git-path", "index", "HEAD")
    found = os.fsdecode(_git(root, "rev-parse", *where)).split("\n")
    if len(found) != 5:
        raise _GitFailed("its path holds a line break")
    top, objects, index, commit, _ = found
    settings: list[str] = []
    with suppress(_GitFailed):  # it has none of these
        settings = os.fsdecode(_git(root, "config", "--get-regexp", _HARMLESS)).splitlines()
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
        except OSError as error:
            raise _GitFailed(f"its index cannot be copied: {error.strerror}") from None
        ours = {"GIT_DIR": bare, "GIT_WORK_TREE": top, "GIT_OBJECT_DIRECTORY": str(root / objects)}
        without: Sequence[str] = ()
        with suppress(OSError):  # none, or none that we may read
            without = _OURS if _RUNS.search(content(root / "config.yaml")) else ()
        return CodeVersion(commit, _git(root, *said, "diff", *_PLAIN, commit, "--", ".", *without, **ours))


def _git(root: Path, *arguments: str, **variables: str) -> bytes:
    try:
        done = subprocess.run(
            [shutil.which("git") or "git", *_RUN_NOTHING, "-C", str(root), *arguments],
            env={**os.environ, **variables, "LC_ALL": "C"},
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        said = " ".join(os.fsdecode(error.stderr).split()) or f"git ended with {error.returncode}"
        raise _GitFailed(printable(said.removeprefix("fatal: "))) from None
    except (subprocess.TimeoutExpired, OSError) as error:
        why = getattr(error, "strerror", f"no answer within {_GIT_TIMEOUT_S:g} s")
        raise _GitFailed(f"git cannot be run: {why}") from None
    return done.stdout
