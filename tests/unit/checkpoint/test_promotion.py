"""Promotion: the verified copy, and everything that it must not lose."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from trainrelay.checkpoint import check_target, promote, promotion
from trainrelay.errors import CheckpointError, Refusal, UserError
from trainrelay.records import FileDigest
from trainrelay.system import files


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


NEW, OLD, OLDER = b"new" * 100_000, b"old" * 1000, b"older"


class Place:
    """A source with NEW in it, and a target that may hold something."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "work dir" / "epoch_6.pth"
        self.target = folder / "ckpts" / "full ü.pth"
        self.previous = folder / "ckpts" / "full ü.pth.previous"
        self.source.parent.mkdir()
        self.source.write_bytes(NEW)

    def hold(self, data: bytes) -> None:
        self.target.parent.mkdir(exist_ok=True)
        self.target.write_bytes(data)

    def promote(self, **how: Any) -> FileDigest:
        defaults = {"expected_sha256": sha(NEW), "overwrite": False, "owned": ()}
        return promote(self.source, self.target, **(defaults | how))

    def names(self) -> set[str]:
        return {path.name for path in self.target.parent.iterdir()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_first_promotion_copies_and_makes_the_folder(place: Place) -> None:
    digest = place.promote()
    assert place.target.read_bytes() == NEW
    assert digest == FileDigest(path=str(place.target), sha256=sha(NEW), size=len(NEW))
    assert place.names() == {place.target.name}
    assert place.source.read_bytes() == NEW


def test_our_own_earlier_promotion_is_replaced_and_kept_as_previous(place: Place) -> None:
    place.hold(OLD)
    place.promote(owned={sha(OLD)})
    assert place.target.read_bytes() == NEW
    assert place.previous.read_bytes() == OLD
    assert place.names() == {place.target.name, place.previous.name}


def test_a_previous_of_ours_is_replaced_by_the_one_before(place: Place) -> None:
    place.hold(OLD)
    place.previous.write_bytes(OLDER)
    place.promote(owned={sha(OLD), sha(OLDER)})
    assert place.previous.read_bytes() == OLD
    assert place.names() == {place.target.name, place.previous.name}


def test_a_previous_that_is_not_ours_is_never_overwritten(place: Place) -> None:
    """What an `overwrite: true` once put there may be the only copy of a person's weights."""
    place.hold(OLD)
    place.previous.write_bytes(b"somebody's")
    taken = place.previous.with_name(f"{place.previous.name}-2")
    taken.write_bytes(b"somebody else's")
    place.promote(owned={sha(OLD)})
    assert place.target.read_bytes() == NEW
    assert place.previous.read_bytes() == b"somebody's"
    assert taken.read_bytes() == b"somebody else's"
    assert place.previous.with_name(f"{place.previous.name}-3").read_bytes() == OLD


def test_a_link_in_the_place_of_previous_stays_even_if_it_leads_to_a_file_of_ours(place: Place) -> None:
    place.hold(OLD)
    elsewhere = place.target.with_name("elsewhere.pth")
    elsewhere.write_bytes(OLDER)
    place.previous.symlink_to(elsewhere)
    place.promote(owned={sha(OLD), sha(OLDER)})
    assert place.previous.is_symlink()
    assert elsewhere.read_bytes() == OLDER
    assert place.previous.with_name(f"{place.previous.name}-2").read_bytes() == OLD


def test_a_foreign_target_kept_by_an_interrupted_promotion_is_not_kept_twice(place: Place) -> None:
    place.hold(OLD)
    place.previous.write_bytes(b"somebody's")
    second = place.previous.with_name(f"{place.previous.name}-2")
    os.link(place.target, second)
    place.promote(overwrite=True)
    assert (place.target.read_bytes(), second.read_bytes()) == (NEW, OLD)
    assert place.names() == {place.target.name, place.previous.name, second.name}


def test_the_same_content_touches_nothing(place: Place) -> None:
    place.hold(NEW)
    place.previous.write_bytes(OLD)
    before = place.target.stat()
    place.source.unlink()
    digest = place.promote()
    after = place.target.stat()
    assert digest.sha256 == sha(NEW)
    assert (before.st_ino, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    assert place.previous.read_bytes() == OLD


@pytest.mark.parametrize("owned", [(), {sha(OLDER)}])
def test_a_target_that_we_did_not_write_is_refused_with_what_to_type(
    place: Place, owned: Collection[str]
) -> None:
    place.hold(OLD)
    with pytest.raises(Refusal) as caught:
        place.promote(owned=owned)
    assert "overwrite: true" in str(caught.value)
    assert f"mv '{place.target}'" in str(caught.value)
    assert place.target.read_bytes() == OLD
    assert place.names() == {place.target.name}


def test_a_refusal_names_where_the_file_would_really_be_kept(place: Place) -> None:
    place.hold(OLD)
    place.previous.write_bytes(OLDER)
    with pytest.raises(Refusal, match=r"kept as full ü\.pth\.previous-2\)"):
        place.promote()


def test_the_check_of_a_target_alone_refuses_the_same_and_changes_nothing(place: Place) -> None:
    def check(expected_sha256: str | None, overwrite: bool, owned: Collection[str]) -> FileDigest | None:
        return check_target(place.target, expected_sha256=expected_sha256, overwrite=overwrite, owned=owned)

    assert check(None, False, ()) is None
    assert not place.target.parent.exists()
    place.hold(OLD)
    with pytest.raises(Refusal) as caught:
        check(None, False, ())
    with pytest.raises(Refusal) as promoting:
        place.promote()
    assert str(caught.value) == str(promoting.value)
    allowed = [check(None, True, ()), check(sha(OLD), False, ()), check(None, False, {sha(OLD)})]
    assert [found.sha256 for found in allowed if found] == [sha(OLD)] * 3
    assert place.names() == {place.target.name}


def test_overwrite_replaces_a_foreign_target_and_keeps_it(place: Place) -> None:
    place.hold(OLD)
    place.promote(overwrite=True)
    assert place.target.read_bytes() == NEW
    assert place.previous.read_bytes() == OLD


def test_a_source_that_changed_since_its_training_is_refused_and_nothing_changes(place: Place) -> None:
    place.hold(OLD)
    place.source.write_bytes(NEW[:-1] + b"X")
    changed = "changed since its training ended.*put the recorded file back, or, to train from scratch, move"
    with pytest.raises(CheckpointError, match=changed):
        place.promote(owned={sha(OLD)})
    assert place.target.read_bytes() == OLD
    assert place.names() == {place.target.name}


def test_without_a_target_the_source_is_only_checked(place: Place) -> None:
    given = {"overwrite": False, "owned": ()}
    assert promote(place.source, None, expected_sha256=sha(NEW), **given).path == str(place.source)
    with pytest.raises(CheckpointError, match="changed since"):
        promote(place.source, None, expected_sha256=sha(OLD), **given)


@pytest.mark.parametrize("target", [True, False])
def test_a_source_that_is_gone_is_one_sentence(place: Place, target: bool) -> None:
    place.source.unlink()
    with pytest.raises(
        CheckpointError,
        match=r"epoch_6\.pth is gone: put it back, or, to train from scratch, move the stage's folder",
    ):
        promote(
            place.source,
            place.target if target else None,
            expected_sha256=sha(NEW),
            overwrite=False,
            owned=(),
        )


def test_a_symbolic_link_as_target_is_refused_and_stays(place: Place) -> None:
    place.target.parent.mkdir()
    place.target.symlink_to("elsewhere.pth")
    with pytest.raises(Refusal, match=r"symbolic link to elsewhere\.pth"):
        place.promote(overwrite=True)
    assert place.target.is_symlink()


def test_a_folder_or_a_pipe_as_target_is_refused(place: Place) -> None:
    place.target.mkdir(parents=True)
    with pytest.raises(
        Refusal, match=r"is a folder; set promotion\.target of this stage in config\.yaml to a file"
    ):
        place.promote(overwrite=True)
    place.target.rmdir()
    os.mkfifo(place.target)
    with pytest.raises(Refusal, match="not a regular file"):
        place.promote(overwrite=True)


def test_a_folder_in_the_place_of_previous_stays_and_the_old_one_is_kept_beside_it(place: Place) -> None:
    place.hold(OLD)
    place.previous.mkdir()
    place.promote(owned={sha(OLD)})
    assert place.target.read_bytes() == NEW
    assert place.previous.is_dir()
    assert place.previous.with_name(f"{place.previous.name}-2").read_bytes() == OLD


def test_a_file_where_the_folder_should_be_is_one_sentence(place: Place) -> None:
    place.target.parent.write_text("in the way")
    with pytest.raises(UserError, match="cannot make the folder"):
        place.promote()


def test_a_file_system_without_hard_links_keeps_the_old_one_by_copying(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(promotion.os, "link", refuse)
    place.hold(OLD)
    place.promote(owned={sha(OLD)})
    assert (place.target.read_bytes(), place.previous.read_bytes()) == (NEW, OLD)
    assert place.names() == {place.target.name, place.previous.name}


def test_a_promotion_interrupted_after_the_old_one_was_kept_can_be_repeated(place: Place) -> None:
    """Then target and previous are one file under two names."""
    place.hold(OLD)
    os.link(place.target, place.previous)
    place.promote(owned={sha(OLD)})
    assert (place.target.read_bytes(), place.previous.read_bytes()) == (NEW, OLD)
    assert place.names() == {place.target.name, place.previous.name}


KILLED = """
import os, signal, sys
from pathlib import Path
from trainrelay.checkpoint import promote, promotion
from trainrelay.system import files
at, source, target, new, old = sys.argv[1:]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if at == "copying":
    files.sync = die
elif at == "keeping":
    promotion._keep = die
elif at == "linked":
    promotion.os.link = lambda a, b, real=os.link: (real(a, b), die())
elif at == "replacing":
    real = Path.replace
    Path.replace = lambda self, to: die() if str(to) == target else real(self, to)
elif at == "replaced":
    real = Path.replace
    Path.replace = lambda self, to: (real(self, to), die() if str(to) == target else None)[0]
promote(Path(source), Path(target), expected_sha256=new, overwrite=False, owned={old})
"""


@pytest.mark.process
@pytest.mark.parametrize("at", ["copying", "keeping", "linked", "replacing", "replaced"])
def test_a_killed_promotion_leaves_the_old_or_the_new_target_and_the_next_one_clears_up(
    place: Place, at: str
) -> None:
    place.hold(OLD)
    arguments = [at, str(place.source), str(place.target), sha(NEW), sha(OLD)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert done.returncode == -signal.SIGKILL
    assert place.target.read_bytes() == (NEW if at == "replaced" else OLD)
    place.promote(owned={sha(OLD)})
    assert (place.target.read_bytes(), place.previous.read_bytes()) == (NEW, OLD)
    assert place.names() == {place.target.name, place.previous.name}


def test_left_overs_of_other_targets_and_of_the_user_are_not_touched(place: Place) -> None:
    place.target.parent.mkdir()
    other = files.temporary_beside(place.target.with_name("other.pth"))
    other.write_bytes(b"of a promotion that runs now")
    (place.target.parent / ".hidden.tmp").write_bytes(b"the user's")
    place.promote()
    assert place.names() == {place.target.name, other.name, ".hidden.tmp"}
