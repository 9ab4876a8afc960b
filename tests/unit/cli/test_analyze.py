"""`trainrelay analyze`: one training, several as a table, standard input, and what `--fail-on` refuses."""

from __future__ import annotations

import io
import json
import re
import sys
from itertools import count

import pytest
import yaml

from support.mmcv_logs import mmcv_text, write_mmcv_log
from support.page import Page
from trainrelay.analysis import analyze as judged
from trainrelay.analysis import read
from trainrelay.cli import main


def healthy(folder):
    return write_mmcv_log(folder / "healthy.log", epochs=2)


def failing(folder):
    """The loss became NaN."""
    path = folder / "failing.jsonl"
    path.write_text(
        "".join(f'{{"step": {at}, "loss": {"NaN" if at > 20 else 30 - at}}}\n' for at in range(1, 40))
    )
    return path


def test_a_folder_is_one_training(tmp_path, capsys, monkeypatch):
    healthy(tmp_path)
    monkeypatch.chdir(tmp_path)
    for folder, log in ((str(tmp_path), str(tmp_path / "healthy.log")), (".", "healthy.log")):
        assert main(["analyze", folder, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["sources"] == [log]


def test_several_folders_are_a_line_each(tmp_path, capsys):
    """Also one that holds no log: the others are judged anyway."""
    names = ["a", "b", "empty"]
    for name, write in zip(names, (healthy, failing, lambda _: None), strict=True):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    assert main(["analyze", *(str(tmp_path / name) for name in names)]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["healthy", "failed", "not judged"]
    assert "█" in lines[0]
    assert "×" in lines[1].split(" | ")[4]
    assert "holds no log of a known format" in lines[2]


def test_single_files_are_one_training_unless_you_say_that_each_is(tmp_path, capsys):
    logs = [str(healthy(tmp_path)), str(failing(tmp_path))]
    assert main(["analyze", *logs]) == 2
    assert "give logs of one format at a time" in capsys.readouterr().err
    assert main(["analyze", "--each", "--json", *logs]) == 0
    assert [one["verdict"] for one in json.loads(capsys.readouterr().out)] == ["healthy", "failed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["analyze", "-", "--markdown"], "## standard input\n"),
        (["analyze", "--compare", "-", "healthy.log"], "The losses are equal at all 20 steps"),
        (["explain", "-"], "The progress line"),
    ],
)
def test_standard_input_is_read(tmp_path, capsys, monkeypatch, words, said):
    packed = io.TextIOWrapper(io.BytesIO(healthy(tmp_path).read_bytes()))
    monkeypatch.setattr(sys, "stdin", packed)
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limit", "write", "code"),
    [
        ("warning", healthy, 0),
        ("failed", healthy, 0),
        ("warning", failing, 5),
        ("failed", failing, 5),
    ],
)
def test_fail_on_refuses_that_verdict_and_worse(tmp_path, capsys, limit, write, code):
    """The analysis is printed all the same, and the reason comes last."""
    path = write(tmp_path)
    assert main(["analyze", str(path), "--fail-on", limit]) == code
    said = capsys.readouterr()
    assert "Training Progress" in said.out
    assert ("failing.jsonl: failed: " in said.err) == bool(code)


def test_a_warning_is_refused_only_where_you_ask(tmp_path, capsys):
    """Also of a log that cannot be judged."""
    (tmp_path / "prose.txt").write_text("hello\n")
    log = str(tmp_path / "prose.txt")
    assert main(["analyze", "--each", log, "--fail-on", "failed"]) == 0
    assert main(["analyze", "--each", log, "--fail-on", "warning"]) == 5
    assert main(["analyze", log, "--fail-on", "failed"]) == 2


def losses(path, values):
    """A log in JSON Lines, a row per iteration."""
    path.write_text("".join(f'{{"step": {at}, "loss": {value}}}\n' for at, value in enumerate(values, 1)))
    return str(path)


def test_two_trainings_are_compared_and_where_they_part_is_named(tmp_path, capsys):
    one = losses(tmp_path / "a.jsonl", [30 - at / 10 for at in range(200)])
    other = losses(tmp_path / "b.jsonl", [30 - at / (10 if at < 50 else 20) for at in range(200)])
    assert main(["analyze", "--compare", one, other]) == 0
    shown = capsys.readouterr().out
    assert "equal up to iter 50; at iter 51 loss is 25 in A and 27.5 in B" in shown
    assert "| loss (training) | 11.05 | 20.52 | 11.05 | 20.52 |" in shown
    assert main(["analyze", "--compare", one, one, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parted"] == "The losses are equal at all 200 steps that both log."
    assert found["metrics"][0] == {
        "metric": "loss (training)",
        "final": [11.05, 11.05],
        "best": [11.05, 11.05],
    }


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ('{"step": 7, "loss": 1}', "They log no step in common"),
        ('{"epoch": 1, "train_loss": 1}', "One logs epochs, the other iterations"),
        ('{"step": 1, "accuracy": 1}', "Not both log a total loss"),
        (
            '{"step": 1, "total_loss": 1}',
            "apart from the start; at iter 1 loss or total_loss is 30 in A and 1 in B",
        ),
    ],
)
def test_logs_that_cannot_be_compared_are_not_called_equal(tmp_path, capsys, other, said):
    one = losses(tmp_path / "a.jsonl", [30, 29, 28])
    (tmp_path / "b.jsonl").write_text(other + "\n")
    assert main(["analyze", "--compare", one, str(tmp_path / "b.jsonl")]) == 0
    assert said in capsys.readouterr().out


def test_a_log_without_rows_is_not_compared(tmp_path, capsys):
    one = losses(tmp_path / "a.jsonl", [30, 29, 28])
    (tmp_path / "b.log").write_text(
        "slurmstepd: error: *** JOB 31 ON n1 CANCELLED AT 2024 DUE TO TIME LIMIT ***\n"
    )
    assert main(["analyze", str(tmp_path / "b.log")]) == 0
    assert main(["analyze", "--compare", one, str(tmp_path / "b.log")]) == 2
    assert "b.log: has no line of a known format" in capsys.readouterr().err


def test_a_comparison_as_a_page_overlays_both(tmp_path, capsys):
    one, other = (losses(tmp_path / f"{name}.jsonl", [30, 29, 28]) for name in "ab")
    assert main(["analyze", "--compare", one, other, "--html", str(tmp_path / "page.html")]) == 0
    assert 'id="compare"' in (tmp_path / "page.html").read_text()
    assert "equal at all 3 steps" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--compare LOG", "run: trainrelay analyze --compare A B"),
        (
            "--compare LOG LOG --series",
            "analyze --compare A B cannot be combined with --series; it takes --json,",
        ),
        ("--compare LOG LOG --fail-on failed", "cannot be combined with --fail-on"),
        (
            "--follow LOG --html PAGE",
            "analyze --follow LOG cannot be combined with --html; it takes no option",
        ),
        ("--follow LOG --json", "cannot be combined with --json"),
        ("--follow --compare LOG LOG", "cannot be combined with --"),
        ("--follow .", "one log is followed, a file"),
        ("--stage r/s --html PAGE", "cannot be combined with --html; it takes --json, --markdown, --fail-on"),
        ("--stage r/s LOG", "got 1 log; run: trainrelay analyze --stage RUN/STAGE"),
        ("", "run: trainrelay analyze LOG... (or: trainrelay analyze --stage RUN/STAGE)"),
    ],
)
def test_what_does_not_go_together_is_refused_and_nothing_is_dropped(tmp_path, capsys, words, said):
    given = {"LOG": str(healthy(tmp_path)), "PAGE": str(tmp_path / "page.html")}
    assert main(["analyze", *(given.get(word, word) for word in words.split())]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_the_whole_series_is_in_the_json_if_asked(tmp_path, capsys):
    path = losses(tmp_path / "a.jsonl", [1000 - at for at in range(900)])
    assert main(["analyze", "--json", "--series", path]) == 0
    curve = json.loads(capsys.readouterr().out)["curves"]["train"]["loss"]
    assert (len(curve), curve[0], curve[-1]) == (900, [1, 1000], [900, 101])
    assert main(["analyze", "--series", path]) == 2
    assert "--series belongs to --json" in capsys.readouterr().err


@pytest.mark.parametrize(("metrics", "points"), [(2, 1200), (200, 400)])
def test_the_fewer_metrics_the_more_points_of_each_are_kept(tmp_path, metrics, points):
    more = {f"m{n}": 1 for n in range(metrics)}
    rows = ({"step": at, "loss": 1 + 1 / at, **more} for at in range(1, points + 100))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = judged(read([tmp_path / "a.jsonl"])).curves["train"]["loss"]
    assert points / 2 < len(kept) <= points


def test_the_page_of_a_log_is_written(tmp_path, capsys):
    page = tmp_path / "pages" / "log.html"
    assert main(["analyze", str(healthy(tmp_path)), "--html", str(page)]) == 0
    assert "healthy.log" in page.read_text()
    assert "<svg" in page.read_text()
    assert "has not started" not in page.read_text()
    assert "promoted unless" not in page.read_text()
    assert "of None" not in page.read_text()
    assert "## healthy.log" not in capsys.readouterr().out
    assert main(["analyze", str(tmp_path / "healthy.log"), "--html", str(page), "--markdown"]) == 0
    assert "## healthy.log" in capsys.readouterr().out


def test_a_page_is_written_over_none_but_a_page(tmp_path, capsys):
    log, link, empty = healthy(tmp_path), tmp_path / "link.html", tmp_path / "empty.html"
    link.symlink_to(log)
    empty.touch()
    before = log.read_bytes()
    for there in (log, link, tmp_path):
        assert main(["analyze", str(tmp_path / "healthy.log"), "--html", str(there)]) == 2
        assert str(there) in capsys.readouterr().err
    assert log.read_bytes() == before
    for _ in range(2):
        assert main(["analyze", str(log), "--html", str(empty)]) == 0
    assert "<svg" in empty.read_text()


def test_the_hours_of_a_log_are_by_all_of_its_steps(tmp_path):
    """The points of a curve are its extremes: of these, more than half take long."""
    text = mmcv_text(epochs=60, iters_per_epoch=500, interval=10)
    slow = (f"time: {(1.0, 1.0, 1.0, 9.0)[at % 4]:.3f}" for at in count())
    log, page = tmp_path / "foreign.log", tmp_path / "log.html"
    log.write_text(re.sub(r"(?<!_)time: [\d.]+", lambda _: next(slow), text))
    analysis = judged(read([log]))
    assert analysis.step_s == 1.0
    assert main(["analyze", str(log), "--html", str(page)]) == 0
    assert "Time about 8 h" in Page(page.read_text()).words


def test_the_page_of_a_log_claims_no_more_than_the_log_says(tmp_path):
    """Restarts and what they redid are marked, the hours are those of its steps, and nothing is promoted."""
    log, page = tmp_path / "foreign.log", tmp_path / "log.html"
    starts = ({"stop": (3, 50)}, {"resumed": 2, "stop": (4, 20)})
    log.write_text("".join(mmcv_text(epochs=6, validation=True, **start) for start in starts))
    assert main(["analyze", str(log), "--html", str(page)]) == 0
    shown = Page(page.read_text())
    for claim in (
        "not started",
        "none yet",
        "not chosen",
        "has not been",
        "Promoted",
        "GPU-hours",
        "Attempts",
    ):
        assert claim not in shown.words
    assert "What a log says, without a record of the training: foreign.log (6 epochs)." in shown.words
    assert "foreign.log has 3 of 6 epochs done, its loss went from" in shown.words
    assert "Time about " in shown.words
    assert "Restarts 1" in shown.words
    marked = {attrs["class"] for _, attrs in shown.elements if (attrs.get("class") or "").startswith("mark-")}
    assert marked >= {"mark-restart", "mark-redone"}
    assert "iterations 201 to 250 were done again" in page.read_text()
    clocks = [json.loads(attrs["data-clock"] or "") for _, attrs in shown.elements if "data-clock" in attrs]
    assert clocks[0][0][:3] == [0, 0.0, 320]


def test_a_log_that_counts_iterations_alone_is_told_by_them(tmp_path):
    path = losses(tmp_path / "a.jsonl", [30, 29, 28])
    assert main(["analyze", path, "--html", str(tmp_path / "a.html")]) == 0
    assert "a.jsonl has 3 iterations done" in Page((tmp_path / "a.html").read_text()).words


def test_a_log_of_lines_that_the_config_describes_is_read_by_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "mine.log"
    log.write_text("".join(f"<{at}> weight {9 / at:.3f}\n" for at in range(1, 21)))
    assert main(["analyze", str(log)]) == 2
    script = {
        "command": "{launcher} {entry}",
        "checkpoints": "ckpt-{epoch}.pt",
        "progress": [r"<(?P<epoch>[0-9]+)> weight (?P<loss>[0-9.]+)"],
    }
    trainer = {"kind": "script", "root": str(tmp_path), "entry": "train.py", "script": script}
    trainer |= {"nproc_per_node": 1, "device": "cpu"}
    stages = {"one": {"config": "train.py", "epochs": 20}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"runs": {"mine": {"trainer": trainer, "stages": stages}}}))
    assert main(["analyze", str(log), "--json", "--configfile", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["train"]["loss"]["last"] == 0.45
    assert main(["analyze", "--compare", str(log), str(log), "--configfile", str(config)]) == 0
    capsys.readouterr()
    assert main(["explain", str(log), "--configfile", str(config)]) == 0
    assert "The last one is of epoch 20: loss 0.45" in capsys.readouterr().out
    (tmp_path / "folder").mkdir()
    log.rename(tmp_path / "folder/mine.log")
    assert main(["analyze", str(tmp_path / "folder"), "--json", "--configfile", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["train"]["loss"]["last"] == 0.45
    usual = "".join(f"<{at}> weight {9 / at:.3f}\nepoch {at} loss 3.5\n" for at in range(1, 21))
    log.write_text(usual)
    assert main(["analyze", str(log), "--json", "--configfile", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["train"]["loss"]["last"] == 0.45, "yours come first"
