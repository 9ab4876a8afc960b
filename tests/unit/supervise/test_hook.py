"""What the supervisor makes of the files that ranks leave."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from support.supervising import Alone, cleared, once, toy_job
from trainrelay.records import InitialWeights, NotFiniteStep
from trainrelay.supervise import InitialCheckpoint, StepSaving
from trainrelay.supervise.hook import NOTES_WITHIN_S, Hook, said_of
from trainrelay_hook import files


def a_stop(rank: int = 0, **seen: object) -> NotFiniteStep:
    empty = {"loss": None, "hidden": (), "parameters": (), "more_parameters": 0, "samples": ()}
    place = {"step": 12, "epoch": 2, "iteration": 5}
    return NotFiniteStep.model_validate({"format": 1, "rank": rank, **place, **empty, **seen})


STOPPED = "stopped before the optimizer step of epoch 2, iteration 5 (step 12 of the training): "


@pytest.mark.parametrize(
    ("stops", "said"),
    [
        ([], None),
        (
            [a_stop(0), a_stop(1, loss="nan", samples=("7", "9"))],
            f"{STOPPED}on rank 1 the loss is nan (samples 7, 9)",
        ),
        (
            [a_stop(0, hidden=("nan", "inf"))],
            f"{STOPPED}on rank 0 torch.nan_to_num hides a loss that is nan; if it is meant to be hidden, set"
            " `hook: off` for this stage",
        ),
        (
            [
                a_stop(0, parameters=tuple("abcdefg"), more_parameters=3),
                a_stop(1, parameters=tuple("abcdefg")),
            ],
            f"{STOPPED}the gradients of a, b, c, d, e and 5 more are not finite",
        ),
        ([a_stop(0)], f"{STOPPED}a loss or a gradient is not finite"),
    ],
)
def test_a_stop_in_one_sentence(stops: list[NotFiniteStep], said: str | None) -> None:
    """Of all ranks, the cause where one of them saw it."""
    assert said_of(stops) == said


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    """The folder of an attempt's notes, the hook switched on."""
    Hook(tmp_path, 3).switched({}, on=True)
    return tmp_path / files.FOLDER


def note(folder: Path, rank: int, text: str = files.LOADED) -> None:
    (folder / files.NOTE.format(rank)).write_text(text)


def test_ranks_without_the_hook_are_counted(noted: Path) -> None:
    """Where one of several nodes has another environment, say."""
    note(noted, 0)
    note(noted, 2, "not json\x1b[31m")
    said = Hook(noted.parent, 3).absent() or ""
    assert said.startswith("the hook did not attach: 2 of 3 ranks did not load it (")


@pytest.mark.parametrize(("nodes", "patience_s"), [(1, 0.0), (2, NOTES_WITHIN_S)])
def test_what_is_missing_is_said_once_and_not_too_early(noted: Path, nodes: int, patience_s: float) -> None:
    """A shared file system shows the notes of another node late."""
    hook = Hook(noted.parent, 3, nodes)
    assert not patience_s or list(hook.look(1000.0)) == []
    assert list(hook.look(1000.0 + patience_s)) == [hook.absent()]
    assert list(hook.look(2000.0)) == []


def test_a_trainer_that_another_supervisor_follows_is_not_fenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a third one takes the stage over."""
    lease, hook = Alone(), Hook(tmp_path, 1)
    lease.folder = tmp_path
    settings = hook.switched({}, on=True, saving=StepSaving(600.0, 2, 3, exact=False), lease=lease)
    monkeypatch.setenv(files.VARIABLE, settings[files.VARIABLE])
    (tmp_path / "000001.json").touch()
    assert not files.fenced(str(tmp_path), 1)
    (tmp_path / "000002.json").touch()
    assert files.fenced(str(tmp_path), 1)
    lease.token = 2
    hook.adopt(lease)
    assert not files.fenced(str(tmp_path), 1)
    (tmp_path / "000003.json").touch()
    assert files.fenced(str(tmp_path), 1)


@pytest.mark.parametrize("settings", [None, "{", '{"format": 1}', '{"format": 1, "steps": null}'])
def test_there_may_be_nothing_to_adopt(tmp_path: Path, settings: str | None) -> None:
    """An earlier version's settings know nothing of steps."""
    (tmp_path / files.FOLDER).mkdir()
    path = tmp_path / files.FOLDER / files.SETTINGS
    if settings:
        path.write_text(settings)
    Hook(tmp_path, 1).adopt(Alone())
    assert (path.read_text() if path.exists() else None) == settings


def test_what_a_rank_wrote_is_made_printable(noted: Path) -> None:
    """It may hold anything."""
    note(noted, 1, json.dumps({"format": 1, "attached": [], "error": "Bad\x1b[31m\nnews"}))
    said = Hook(noted.parent, 3).absent() or ""
    assert said.isprintable()
    assert "on rank 1 Bad" in said


def test_a_stop_that_is_damaged_is_none(noted: Path) -> None:
    """Then the log decides, as without the hook."""
    (noted / files.STOPPED.format(0)).write_text('{"format": 1, "rank": ')
    assert Hook(noted.parent, 3).stopped() is None


@pytest.mark.process
def test_an_attempt_with_a_cleared_environment_says_so_and_trains(tmp_path: Path, templates: Path) -> None:
    """In its record and among its messages; with the hook off, or loaded, it says nothing."""
    job, said = toy_job(tmp_path, templates, epochs=1), io.StringIO()
    record = once(cleared(job), Console(file=said, width=10_000))
    assert record.end == "done"
    assert (record.hook or "").startswith("the hook did not attach: no rank loaded it")
    assert record.hook in said.getvalue()


@pytest.mark.process
def test_where_it_is_off_nothing_is_missed(tmp_path: Path, templates: Path) -> None:
    """The environment is cleared, and nobody says a word."""
    job = replace(cleared(toy_job(tmp_path, templates, epochs=1)), hook=False)
    record = once(job, Console(file=io.StringIO()))
    assert (record.end, record.hook) == ("done", None)
    assert not list(tmp_path.rglob(files.FOLDER))


def test_a_script_that_asks_is_told_to_save_and_answers_by_its_end(noted: Path) -> None:
    said: list[str] = []
    note(noted, 0)
    Hook(noted.parent, 1).save(Alone(), lambda: False, said.append)
    assert not (noted / files.REQUEST).exists()
    note(noted, 0, '{"format": 1, "attached": [], "error": null, "asks": true}')
    ended = iter([False, False, True])
    Hook(noted.parent, 1).save(Alone(), lambda: next(ended), said.append)
    assert json.loads((noted / files.REQUEST).read_text())["request"] == Alone().token
    assert said == ["waiting for the script to save and to end"]


CAME = {
    "format": 1,
    "share": 0.714,
    "modules": [
        ["backbone", 318, 318],
        ["seg_head", 118, 120],
        ["occ_head", 0, 400],
        ["motion_head", 0, 275],
    ],
    "shapes": ["seg_head.fc.weight (3x256 in the file, 4x256 in the model)"],
    "left_over": [["old_head", 12]],
}
CAME_SAID = (
    "71.4 % of the model's parameters; occ_head, motion_head: new, 675 keys; backbone: 318 of 318;"
    " seg_head: 118 of 120; of another shape: seg_head.fc.weight (3x256 in the file, 4x256 in the model);"
    " old_head: only in the file, 12 keys"
)


def came(folder: Path, text: str) -> InitialWeights | None:
    (folder / files.FOLDER).mkdir(exist_ok=True)
    (folder / files.FOLDER / files.INITIAL).write_text(text)
    return Hook(folder, 1).look_at_initial()


def test_what_came_from_the_initial_checkpoint_is_said_once_and_kept(noted: Path) -> None:
    """A note may come later than the first progress; it stays though its file goes."""
    note(noted, 0)
    hook = Hook(noted.parent, 1)
    assert list(hook.look(1000.0)) == []
    assert str(came(noted.parent, json.dumps(CAME))) == CAME_SAID
    assert list(hook.look(2000.0)) == [f"from the initial checkpoint: {CAME_SAID}"]
    (noted / files.INITIAL).unlink()
    assert list(hook.look(3000.0)) == []
    assert str(hook.initial) == CAME_SAID


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share": None}, "not known: the trainer loads it by its own code, in parts, or not at all"),
        ({"share": 1.5}, "None"),
        ({"share": "nan"}, "None"),
        ({"modules": [["a", 1, 1]] * 21}, "None"),
        ({"modules": [["a" * 501, 1, 1]]}, "None"),
        ({"modules": [["a\x1b[2J\nb", 0, 1]]}, r"71.4 % of the model's parameters; a\x1b[2J\nb: new, 1 keys"),
    ],
)
def test_a_note_on_the_initial_checkpoint_is_not_trusted(tmp_path: Path, change: Any, said: str) -> None:
    """What is odd about it is no claim; names end up in sentences."""
    assert str(came(tmp_path, json.dumps({**CAME, "shapes": [], "left_over": [], **change}))) == said


@pytest.mark.process
def test_only_a_start_from_the_initial_checkpoint_is_asked_what_came(tmp_path: Path, templates: Path) -> None:
    """Its record keeps what rank 0 noted; one that resumes is asked nothing."""
    job = toy_job(tmp_path, templates, "notes-what-came", initial=InitialCheckpoint("/data/stage1.pth", 0.5))
    folder = job.stage_dir / "attempts"
    first = once(job, Console(file=io.StringIO()))
    asked = [json.loads((folder / f"001/{files.FOLDER}/{files.SETTINGS}").read_text())["initial"]]
    again = once(toy_job(tmp_path, templates, initial=job.initial), Console(file=io.StringIO()))
    asked.append(json.loads((folder / f"002/{files.FOLDER}/{files.SETTINGS}").read_text())["initial"])
    assert (first.resumed_from, again.resumed_from is not None) == (None, True)
    assert (str(first.initial), again.initial) == ("50 % of the model's parameters; head: new, 2 keys", None)
    assert asked == [{"path": "/data/stage1.pth", "match_min": 0.5}, None]
