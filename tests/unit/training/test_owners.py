"""owner.json: one owner per work dir, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainrelay.errors import UserError
from trainrelay.training.owners import claim, owner_of

ID = "a" * 32


@pytest.mark.process
def test_of_many_at_once_one_becomes_the_owner_and_its_file_is_whole(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainrelay.training.owners import claim, owner_of;"
        "sys.stdin.readline(); claim(Path(sys.argv[1]), sys.argv[2], Path('x'));"
        "print(owner_of(Path(sys.argv[1])).id)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    argv = [sys.executable, "-c", code, str(tmp_path / "w")]
    claims = [
        subprocess.Popen([*argv, str(n) * 32], stdin=-1, stdout=-1, text=True, env=env) for n in range(4)
    ]
    for one in claims:
        assert one.stdin
        one.stdin.write("\n")
        one.stdin.flush()
    assert len({one.communicate()[0] for one in claims}) == 1
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["owner.json"]


def test_a_claim_that_died_before_its_end_is_no_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", killed)
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(Killed):
            claim(tmp_path, ID, tmp_path)
    assert owner_of(tmp_path) is None
    claim(tmp_path, ID, tmp_path)
    owner = owner_of(tmp_path)
    assert owner
    assert owner.was_empty


def test_a_file_system_without_hard_links_has_owners_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    for owner_id in (ID, "b" * 32):
        claim(tmp_path, owner_id, tmp_path)
    owner = owner_of(tmp_path)
    assert owner
    assert owner.id == ID


@pytest.mark.parametrize("kind", ["folder", "fifo", "link", "empty", "other"])
def test_what_is_no_owner_ends_in_a_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "owner.json"
    make = {
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("gone"),
        "empty": path.touch,
        "other": lambda: path.write_text('{"owner": "me"}'),
    }
    make[kind]()
    with pytest.raises(UserError, match=r"owner\.json"):
        owner_of(tmp_path)


def test_a_work_dir_that_cannot_be_written_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "w").touch()
    with pytest.raises(UserError, match="cannot write"):
        claim(tmp_path / "w", ID, tmp_path)
