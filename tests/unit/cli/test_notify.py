"""`notify` of site.yaml: what it is told, once each, and that nothing which it does harms a training."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from support.toy_project import ToyProject, arguments, make_checkout
from trainrelay.cli import stage as verbs
from trainrelay.config import SITE_VARIABLE, load_site
from trainrelay.errors import ConfigError, Diverged, Interrupted, NoProgress, TrainrelayError, UserError
from trainrelay.records import Notice
from trainrelay.supervise import session
from trainrelay.system.files import append, write_json
from trainrelay.training import notify, state
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext

pytestmark = pytest.mark.process

TAKES = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read().replace('\\n', ' ') + '\\n')"
SECRET = "hf_abcdefgh12345"


class Project(ToyProject):
    """A toy project whose verbs are called as the workflow does it."""

    def run(self, verb: str, **stage: Any) -> TrainrelayError | None:
        """The error with which a verb ends."""
        path = self.checkout.parent / "config.yaml"
        path.write_text(self.config(**stage).model_dump_json(by_alias=True))
        try:
            getattr(verbs, verb)(arguments(configfile=path))
        except TrainrelayError as error:
            return error
        return None

    def told(self) -> list[Notice]:
        path = self.checkout.parent / "told me"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Notice.model_validate_json(line) for line in lines]

    def events(self) -> list[str]:
        return [one.event for one in self.told()]

    def listen(self, *argv: str) -> None:
        """From now on this is the command; none: the one that writes down what it is told."""
        words = argv or (sys.executable, "-c", TAKES, str(self.checkout.parent / "told me"))
        (self.checkout.parent / "site.yaml").write_text(json.dumps({"notify": words}))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv(SITE_VARIABLE, str(tmp_path / "site.yaml"))
    toy = Project(make_checkout(tmp_path, monkeypatch, 0.1), tmp_path / "runs")
    toy.listen()
    return toy


def test_complete_and_promoted_are_told_once_also_by_later_starts(toy: Project) -> None:
    """A restart of the controller runs the same verbs again."""
    for _ in range(2):
        assert toy.run("train") is None
        assert toy.run("promote") is None
        toy.paths().train.unlink()  # as Snakemake does before it runs the rule again
    complete, promoted = toy.told()
    assert (complete.event, promoted.event) == ("complete", "promoted")
    assert (complete.run, complete.stage, complete.attempt, complete.format) == ("r", "s", 1, 1)
    assert complete.text == "3 of 3 epochs trained"
    assert promoted.text == str(toy.target)
    assert complete.folder == str(toy.out / "r/s")
    assert complete.report == str(toy.out / "r/report.html")
    assert abs(complete.at_s - time.time()) < 600
    assert toy.run("train", epochs=4) is None
    assert toy.events() == ["complete", "promoted", "complete"]


def test_an_end_that_is_yours_to_decide_is_told_for_each_launch(toy: Project) -> None:
    raises = {"options": {"habit": "raises"}}
    for launch in (1, 2):
        assert isinstance(toy.run("train", **raises), NoProgress)
        assert toy.events() == ["no progress"] * launch
    assert "needs your decision" in toy.told()[0].text
    notify.tell(StageContext(toy.config(**raises), "r", "s"))  # a controller that restarts
    assert len(toy.told()) == 2


def test_an_end_by_divergence_is_told_as_such(toy: Project) -> None:
    """It is named by the error, as exit codes are."""
    for _ in range(2):
        notify.tell(StageContext(toy.config(), "r", "s"), Diverged("r/s: attempt 1 ended: diverged (NaN)"))
    assert toy.events() == ["diverged"]


def test_a_start_that_is_refused_is_told_once(toy: Project) -> None:
    (toy.checkout / "tools/train.py").unlink()
    for _ in range(2):
        error = toy.run("train")
        assert isinstance(error, UserError)
        (notice,) = toy.told()
        assert (notice.event, notice.attempt) == ("needs you", None)
        assert "train.py" in notice.text


def test_a_promotion_that_is_refused_is_told(toy: Project) -> None:
    assert toy.run("train") is None
    toy.target.parent.mkdir()
    toy.target.write_bytes(b"another's")
    assert isinstance(toy.run("promote"), UserError)
    assert toy.events() == ["complete", "needs you"]


def test_a_damaged_record_is_told(toy: Project) -> None:
    assert toy.run("train") is None
    toy.paths().identity.write_text("{")
    assert isinstance(toy.run("train"), UserError)
    assert toy.events() == ["complete", "needs you"]
    assert "trainrelay doctor r/s" in toy.told()[1].text


def test_a_refusal_in_the_same_words_after_a_start_that_went_further_is_told(toy: Project) -> None:
    at = StageContext(toy.config(), "r", "s")
    notify.tell(at, UserError("the same"))
    notify.tell(at, UserError("the same"))
    assert toy.run("train") is None
    notify.tell(at, UserError("the same"))
    assert toy.events() == ["needs you", "complete", "needs you"]


def test_a_fallback_is_told_while_it_trains(toy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    rungs = {"backends": ["nccl", "gloo"], "options": {"habit": "brisk"}}
    monkeypatch.setattr(session._Launch, "_best_rung", lambda _: "gloo")
    config = rungs | {"epochs": 3}
    seen: list[float] = []

    def look() -> None:
        while not toy.events():
            time.sleep(0.05)
        seen.append(time.time())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    assert toy.run("train", **config) is None
    looking.join(30)
    assert toy.events() == ["fell back", "complete"]
    assert toy.told()[0].text.startswith("trains on gloo, not on nccl")
    (attempt,) = list_attempts(toy.paths().folder)
    assert attempt.ended_s
    assert seen[0] < attempt.ended_s


def test_a_stop_that_a_requeue_continues_is_not_told(toy: Project) -> None:
    notify.tell(StageContext(toy.config(), "r", "s"), Interrupted("time limit"))
    assert toy.told() == []


@pytest.mark.parametrize("error", [Interrupted("time limit"), UserError("the same")])
def test_a_job_that_ended_by_itself_before_an_attempt_was_not_killed(
    toy: Project, error: TrainrelayError
) -> None:
    """Nor is one taken for killed whose end in these words was told before what came last."""
    at = StageContext(toy.config(), "r", "s")
    notify.tell(at, error)
    append(at.paths.supervision / "told", b"x on gloo")
    before = toy.told()
    began_s = time.time() - 1
    notify.tell(at, error)
    notify.tell_of_failed_job(at, began_s)
    assert toy.told() == before
    notify.tell_of_failed_job(at, time.time() + 1)
    assert "out of memory, cancelled" in toy.told()[-1].text


def test_a_job_killed_in_an_attempt_after_a_stop_is_told(toy: Project) -> None:
    """One snakemake call, two jobs: a time limit ends the first, and the second is out of memory."""
    at, began_s = StageContext(toy.config(), "r", "s"), time.time() - 1
    assert toy.run("train") is None
    (toy.checkout.parent / "told me").unlink()
    notify.tell(at, Interrupted("time limit"))
    (last,) = list_attempts(at.paths.folder)
    opened = {"started_s": time.time() + 1, "ended_s": None, "decision": None}
    write_json(at.paths.folder / "attempts/001/attempt.json", last.model_copy(update=opened))
    notify.tell_of_failed_job(at, began_s)
    (told,) = toy.told()
    assert "attempt 1 was not seen to end (out of memory, cancelled" in told.text


@pytest.mark.parametrize("reached", ["stage_of", "train_stage"])
def test_a_signal_before_a_supervisor_listens_is_no_killed_job(
    toy: Project, monkeypatch: pytest.MonkeyPatch, reached: str
) -> None:
    original, signals = getattr(verbs, reached), [KeyboardInterrupt()]

    def stopped(what: Any) -> Any:
        if signals:
            raise signals.pop()
        return original(what)

    monkeypatch.setattr(verbs, reached, stopped)
    began_s = time.time() - 1
    with pytest.raises(KeyboardInterrupt):
        toy.run("train")
    notify.tell_of_failed_job(StageContext(toy.config(), "r", "s"), began_s)
    assert toy.told() == []


# ---------------------------------------------------------------------- what the command does wrong

SLEEPS = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
FAULTS = {
    "absent": (("no-such-command-at-all",), "No such file"),
    "fails": ((sys.executable, "-c", "import sys; print('no route'); sys.exit(3)"), "exit 3: no route"),
    "silent": ((sys.executable, "-c", SLEEPS), "did not end within 1 s"),
    "a folder": (("/",), "Permission denied"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_command_that_does_not_take_it_harms_nothing_and_is_tried_again(
    toy: Project, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if fault == "silent":
        monkeypatch.setattr(notify, "_DEADLINE_S", 1.0)
    argv, said = FAULTS[fault]
    toy.listen(*argv)
    began_s = time.monotonic()
    assert toy.run("train") is None
    assert time.monotonic() - began_s < 45
    errors = capsys.readouterr().err
    assert "warning: notify: " in errors
    assert said in errors
    assert state.current(StageContext(toy.config(), "r", "s")).kind == "complete"
    toy.listen()
    assert toy.run("promote") is None
    assert toy.events() == ["complete", "promoted"]


def test_a_command_that_reads_nothing_is_told_nevertheless(toy: Project) -> None:
    toy.listen("true")
    assert toy.run("train") is None
    toy.listen()
    assert toy.run("train") is None
    assert toy.events() == []


def test_no_shell_reads_it_and_it_gets_no_secret_of_the_trainer(toy: Project, tmp_path: Path) -> None:
    """Neither in its environment nor in a text that a trainer printed."""
    shows = "import os, sys; print(os.environ, sys.stdin.read(), sys.argv[2], file=open(sys.argv[1], 'w'))"
    toy.listen(sys.executable, "-c", shows, str(tmp_path / "seen"), "$(touch pwned); `id` %s")
    config = toy.config(options={"habit": "tells-its-token"}).model_dump(mode="json", by_alias=True)
    config["runs"]["r"]["trainer"]["env"] = {"HF_TOKEN": SECRET}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    with pytest.raises(TrainrelayError):
        verbs.train(arguments(configfile=path))
    seen = (tmp_path / "seen").read_text()
    assert "$(touch pwned); `id` %s" in seen
    assert SECRET not in seen


def test_without_notify_nothing_is_written(toy: Project) -> None:
    toy.listen()
    (toy.checkout.parent / "site.yaml").write_text("partition: gpu\n")
    assert toy.run("train") is None
    assert not (toy.paths().supervision / "told").exists()


def test_a_bad_command_is_refused_where_the_site_file_is_read(toy: Project) -> None:
    (toy.checkout.parent / "site.yaml").write_text("notify: mail me@example.org\n")
    with pytest.raises(ConfigError, match="notify"):
        load_site()
