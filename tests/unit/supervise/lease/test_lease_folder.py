"""The files of a lease folder, sound, damaged and hostile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trainrelay.errors import UserError
from trainrelay.records import Place
from trainrelay.supervise.lease.claim import Beat, Claim
from trainrelay.supervise.lease.folder import (
    KEPT,
    add_claim,
    claim_file,
    highest,
    parsed_beat,
    read_beat,
    read_claim,
    tidy,
    top_claim,
    write_beat,
)
from trainrelay.system.files import write_json


def claim(token: int, owner: str = "a") -> Claim:
    return Claim(
        token=token,
        owner=owner * 32,
        place=Place(host="node1"),
        pid=1,
        started_ticks=1,
        slurm_job="12",
        beat_s=10,
        since_s=1e9,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_claim_is_made_once(tmp_path: Path) -> None:
    """The second one with a token is told so, the first stays as it is, and nothing else is left lying."""
    assert add_claim(tmp_path, claim(1, "a"))
    assert not add_claim(tmp_path, claim(1, "b"))
    assert read_claim(tmp_path, 1) == claim(1, "a")
    assert names(tmp_path) == ["000001.json"]


def test_repeated_request_of_a_network_file_system_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link was made, its answer was lost, and the repeated request says that the name exists."""
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", twice)
    assert add_claim(tmp_path, claim(1))


def test_file_system_without_hard_links_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where claims cannot be exclusive nothing is started, and it is said what to set."""

    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(UserError, match=r"makes no hard links.*set `out` in config\.yaml"):
        add_claim(tmp_path, claim(1))
    assert names(tmp_path) == []


def test_highest_token_counts_and_other_names_do_not(tmp_path: Path) -> None:
    """Temporary files, beats, notes and second spellings of a number are no claims."""
    assert highest(tmp_path / "missing") == 0
    for token in (2, 9, 1_000_000):
        assert add_claim(tmp_path, claim(token))
    for name in (".2000000.tmp", "2000000.beat", "notes.json", "03000000.json", "٣000000.json"):
        (tmp_path / name).write_text("{}")
    assert highest(tmp_path) == 1_000_000
    assert top_claim(tmp_path) == claim(1_000_000)


def test_torn_beat_is_only_bytes(tmp_path: Path) -> None:
    """A power cut may leave any beginning of a beat: it says nothing, and it is no error."""
    write_beat(tmp_path, 1, Beat(owner="a" * 32, counter=1, released=True))
    whole = read_beat(tmp_path, 1)
    assert whole
    for size in range(len(whole) - 2):
        (tmp_path / "000001.beat").write_bytes(whole[:size])
        assert parsed_beat(read_beat(tmp_path, 1)) is None


@pytest.mark.parametrize("size", [0, 1, 20, 4096])
def test_torn_claim_is_one_sentence(tmp_path: Path, size: int) -> None:
    """Nobody can tell whose it is, so nobody goes on; the sentence says what to type."""
    add_claim(tmp_path, claim(3))
    path = claim_file(tmp_path, 3)
    path.write_bytes(bytes(size) if size == 4096 else path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"000003\.json is damaged.*run: trainrelay doctor "):
        top_claim(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"token": 4},
        {"token": 0},
        {"pid": -1},
        {"pid": 2**40},
        {"owner": "../../x"},
        {"slurm_job": "-M evil"},
        {"slurm_job": "1\n"},
        {"beat_s": 1e9},
        {"beat_s": 0},
        {"since_s": 1e300},
        {"place": {"host": "-oProxyCommand=x"}},
        {"place": {"host": "a\x1b[2J"}},
        {"place": {"host": ""}},
        {"more": 1},
    ],
)
def test_hostile_claim_is_one_sentence(tmp_path: Path, change: dict[str, object]) -> None:
    """Nothing of it reaches a terminal, a command or a waiting time."""
    write_json(claim_file(tmp_path, 3), {**claim(3).model_dump(), **change})
    with pytest.raises(UserError) as caught:
        top_claim(tmp_path)
    assert "is damaged" in str(caught.value)
    assert str(caught.value).isprintable()


def test_last_possible_token_is_refused(tmp_path: Path) -> None:
    """After it no other could follow."""
    write_json(tmp_path / "999999999999.json", {**claim(3).model_dump(), "token": 999_999_999_999})
    with pytest.raises(UserError, match="is damaged"):
        top_claim(tmp_path)


def test_what_is_no_regular_file_holds_nobody_up(tmp_path: Path) -> None:
    """A pipe, a folder and a link to an endless device are named."""
    os.mkfifo(tmp_path / "000001.json")
    (tmp_path / "000002.json").mkdir()
    (tmp_path / "000003.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "000004.beat")
    for token in (1, 2, 3):
        with pytest.raises(UserError, match=rf"00000{token}\.json .*trainrelay doctor "):
            read_claim(tmp_path, token)
    with pytest.raises(UserError, match="not a regular file"):
        read_beat(tmp_path, 4)


def test_file_that_was_replaced_while_it_was_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over NFS a replaced beat may be gone from its server between opening and reading it."""
    write_beat(tmp_path, 1, Beat(owner="a" * 32, counter=1))
    opened = os.open
    stale = [OSError(errno.ESTALE, "Stale file handle")] * 2

    def sometimes(*arguments: object, **more: object) -> int:
        if stale:
            raise stale.pop()
        return opened(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", sometimes)
    beat = parsed_beat(read_beat(tmp_path, 1))
    assert beat is not None
    assert beat.counter == 1


def test_old_files_are_tidied_and_never_the_highest(tmp_path: Path) -> None:
    """What killed owners left goes with them; the newest claims and what is not ours stay."""
    for token in range(1, 21):
        add_claim(tmp_path, claim(token))
        write_beat(tmp_path, token, Beat(owner="a" * 32, counter=1))
    for name in (".000003.0123456789abcdef.tmp", ".000019.0123456789abcdef.tmp", "000003.notes"):
        (tmp_path / name).touch()
    tidy(tmp_path, 20)
    assert highest(tmp_path) == 20
    left = names(tmp_path)
    assert len([name for name in left if name.endswith(".json")]) == KEPT + 1
    assert len([name for name in left if name.endswith(".beat")]) == KEPT + 1
    assert {name for name in left if name < "0" or "notes" in name} == {
        ".000019.0123456789abcdef.tmp",
        "000003.notes",
    }
