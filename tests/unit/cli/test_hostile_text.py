"""What a trainer, a host or a record calls something reaches no terminal and no page as it is."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.stage_on_disk import OnDisk
from trainrelay.cli import main
from trainrelay.records import AttemptRecord, Decision, ProbeResult
from trainrelay.system.files import write_json
from trainrelay.system.say import say

pytestmark = pytest.mark.process  # git is asked about the checkout

HOSTILE = "\x1b[2J\x9b31m\x07\u202eab\u2066"
MOVES_OR_TURNS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
PROBE = ProbeResult(
    rung=f"x{HOSTILE}", outcome="fails", error=HOSTILE, gb_per_s={}, seconds=1.0, log=f"l{HOSTILE}"
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stage whose every record, log and file name was written by somebody who means harm."""
    monkeypatch.chdir(tmp_path)
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    path = disk.paths.folder / "attempts/001/attempt.json"
    record = AttemptRecord.model_validate_json(path.read_bytes())
    texts = dict.fromkeys(("reason", "host", "backend", "code", "cwd"), f"x{HOSTILE}")
    lists = {"argv": [f"a{HOSTILE}"], "env": {"A": f"v{HOSTILE}"}, "probes": (PROBE,)}
    decision = Decision(step="final", reason=f"d{HOSTILE}", what_to_do=f"w{HOSTILE}")
    ended = {"end": "killed", "final_checkpoint": None, "decision": decision}
    write_json(path, record.model_copy(update={**texts, **lists, **ended}))
    with (path.parent / "trainer.log").open("a") as log:
        log.write(f"RuntimeError: {HOSTILE}\n")
    disk.checkpoint.unlink()
    (disk.paths.work_dir / f"epoch_1{HOSTILE}\n.pth").write_bytes(b"x")
    (disk.paths.work_dir / os.fsdecode(b"model\xff.pth")).write_bytes(b"x")
    disk.paths.supervision.mkdir()
    event = {"at_s": 1.0, "attempt": 1, "text": f"e{HOSTILE}"}
    (disk.paths.supervision / "events.jsonl").write_text(json.dumps(event) + "\n")
    plain = disk.config().model_dump(mode="json", by_alias=True)
    plain["runs"]["r"]["stages"]["s"]["options"] = {"model.name": f"o{HOSTILE}"}
    (tmp_path / f"{HOSTILE}.yaml").write_text(yaml.safe_dump(plain))
    yield f"{HOSTILE}.yaml"
    say.begin(None, None)  # the next test's messages are not for that log


def moves_nothing(text: str) -> bool:
    return not MOVES_OR_TURNS.intersection(map(unicodedata.category, text.replace("\n", "")))


@pytest.mark.parametrize(
    "verb",
    [
        *(["plan"], ["plan", "--json"], ["watch"], ["watch", "--json"], ["stop", "r/s"], ["report"]),
        *(["train", "r/s"], ["promote", "r/s"], ["accept", "r/s", "--reason", HOSTILE]),
        *(["analyze", "--stage", "r/s"], ["restore", "r/s"], ["plan", "--log", f"{HOSTILE}.log"]),
    ],
    ids=lambda words: words[0] + str(len(words)),
)
def test_no_verb_prints_what_moves_a_cursor_or_turns_text(
    config: str, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    main([*verb, "--configfile", config])
    said = capsys.readouterr()
    assert said.out + said.err
    assert moves_nothing(said.out + said.err)
    if "--json" in verb:
        assert json.loads(said.out)


def test_no_page_holds_it_either(config: str, tmp_path: Path) -> None:
    main(["analyze", "--stage", "r/s", "--configfile", config])
    main(["report", "--configfile", config])
    pages = [path for path in (tmp_path / "runs").rglob("*") if path.suffix in (".html", ".md")]
    assert len(pages) == 3
    assert all(moves_nothing(path.read_text()) for path in pages)
