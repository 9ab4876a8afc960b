"""Which code a checkout holds; whoever wrote it, no program that it names is run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from trainrelay.training.code_version import CodeVersion, NotKnown, code_version

pytestmark = pytest.mark.process

WHO = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "protocol.file.allow=always")
# Each names a program that git runs when it compares, or when it writes its index.
TRAPS = (
    *("core.fsmonitor", "core.pager", "diff.external", "core.sshCommand", "core.editor"),
    *("filter.trap.clean", "filter.trap.smudge", "filter.trap.process", "filter.a=b.clean"),
    *("diff.trap.textconv", "diff.trap.command", "remote.origin.uploadpack", "credential.helper"),
)


def git(folder: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(folder), *WHO, *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def known(root: Path) -> CodeVersion:
    found = code_version(root)
    assert isinstance(found, CodeVersion)
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One commit with a script, an attributes file and a folder."""
    root = tmp_path / "checkout"
    (root / "tools").mkdir(parents=True)
    git(root, "init")
    (root / "train.py").write_text("print(1)\n")
    (root / "big.bin").write_text("big\n")
    (root / "odd.bin").write_text("odd\n")
    (root / "tools/test.py").write_text("print(2)\n")
    git(root, "add", ".")
    git(root, "commit", "-m", "first")
    return root


def change(path: Path, text: str) -> None:
    """Other content of another time, so that git must look into the file."""
    path.write_text(text)
    os.utime(path, (1, 1))


def test_no_program_that_a_checkout_names_is_run(checkout: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    trap = tmp_path / "trap"
    trap.write_text(f'#!/bin/sh\necho "$0 $@" >> {ran}\ncat\n')
    trap.chmod(0o755)
    for name in TRAPS:
        git(checkout, "config", name, str(trap))
    git(checkout, "config", "filter.trap.required", "true")
    git(checkout, "config", "core.hooksPath", str(tmp_path / "hooks"))
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks/post-index-change").symlink_to(trap)
    attributes = "*.bin filter=trap diff=trap\nodd.bin filter=a=b\n"
    (checkout / ".gitattributes").write_text(attributes)
    (checkout / ".git/info").mkdir(exist_ok=True)
    (checkout / ".git/info/attributes").write_text("*.py filter=trap diff=trap\n")
    change(checkout / "train.py", "print(3)\n")
    change(checkout / "big.bin", "bigger\n")
    change(checkout / "odd.bin", "odder\n")
    changes = known(checkout).changes
    assert not ran.exists(), ran.read_text()
    assert b"+print(3)" in changes
    assert b"+bigger" in changes
    # That the traps are ones: git itself, asked the same, runs them.
    subprocess.run(["git", "-C", str(checkout), "diff", "HEAD"], capture_output=True, check=False)
    assert ran.exists()


def test_the_commit_and_what_changed_since(checkout: Path) -> None:
    assert known(checkout) == CodeVersion(git(checkout, "rev-parse", "HEAD"), b"")
    change(checkout / "train.py", "print(3)\n")
    assert known(checkout).changes.decode() == git(checkout, "diff", "HEAD") + "\n"
    git(checkout, "add", ".")
    assert known(checkout).changes.decode() == git(checkout, "diff", "HEAD") + "\n"


def test_what_init_wrote_into_a_checkout_is_no_code_of_the_trainer(checkout: Path) -> None:
    """It is committed with it; a config.yaml of the trainer's own is its code."""
    (checkout / "config.yaml").write_text("runs:\n  mine: {}\n")
    (checkout / "Snakefile").write_text("include: SNAKEFILE\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "ours")
    change(checkout / "config.yaml", "runs:\n  mine: {trainer: {}}\n")
    change(checkout / "Snakefile", "include: OTHER\n")
    assert not known(checkout).changes
    change(checkout / "config.yaml", "lr: 0.1\n")
    assert known(checkout).changes


def test_a_config_that_may_not_be_read_is_no_traceback(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To root, which may run this, every file can be read."""
    (checkout / "config.yaml").write_text("runs: {}\n")
    monkeypatch.setattr(
        "trainrelay.training.code_version.content", lambda path: Path("/proc/self/mem").read_bytes()
    )
    assert known(checkout).changes == b""


def test_of_a_folder_in_a_repository_its_own_changes_count(checkout: Path) -> None:
    change(checkout / "train.py", "print(3)\n")
    assert known(checkout / "tools").changes == b""
    change(checkout / "tools/test.py", "print(3)\n")
    assert b"+print(3)" in known(checkout / "tools").changes


def test_a_touched_file_and_an_executable_bit_that_this_file_system_lacks_are_no_change(
    checkout: Path,
) -> None:
    git(checkout, "config", "core.filemode", "false")
    (checkout / "train.py").chmod(0o755)
    os.utime(checkout / "train.py", (1, 1))
    assert known(checkout).changes == b""


def test_a_worktree_and_a_submodule_are_read_too(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "worktree", "add", "-b", "other", str(tmp_path / "worktree"))
    change(tmp_path / "worktree/train.py", "print(4)\n")
    assert b"+print(4)" in known(tmp_path / "worktree").changes
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init")
    git(other, "submodule", "add", str(checkout), "sub")
    git(other, "commit", "-m", "first")
    assert known(other).changes == b""
    git(other / "sub", "commit", "--allow-empty", "-m", "second")
    assert b"+Subproject commit" in known(other).changes


def test_the_index_and_the_objects_are_left_as_they_are(checkout: Path) -> None:
    os.utime(checkout / "train.py", (1, 1))
    before = {path: path.stat().st_mtime_ns for path in (checkout / ".git").rglob("*")}
    known(checkout)
    assert {path: path.stat().st_mtime_ns for path in (checkout / ".git").rglob("*")} == before


def test_a_repository_without_a_commit_has_no_code_state(tmp_path: Path) -> None:
    git(tmp_path, "init")
    assert code_version(tmp_path) == NotKnown(f"not known (of {tmp_path}: no commit yet)", failed=True)


def test_a_split_index_is_read_too(checkout: Path) -> None:
    git(checkout, "update-index", "--split-index")
    change(checkout / "train.py", "print(3)\n")
    assert b"+print(3)" in known(checkout).changes


def test_a_checkout_with_sha256_objects_is_known(tmp_path: Path) -> None:
    git(tmp_path, "init", "--object-format=sha256")
    (tmp_path / "train.py").write_text("print(1)\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    assert (len(known(tmp_path).commit), known(tmp_path).changes) == (64, b"")
    change(tmp_path / "train.py", "print(3)\n")
    assert b"+print(3)" in known(tmp_path).changes
