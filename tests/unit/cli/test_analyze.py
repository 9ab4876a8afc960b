"""`trainrelay analyze`: one training, several as a table, standard input, and what `--fail-on` refuses."""

from __future__ import annotations

import io
import json
import sys

import pytest
import yaml

from support.mmcv_logs import write_mmcv_log
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


def test_a_folder_is_one_training(tmp_path, capsys):
    healthy(tmp_path)
    assert main(["analyze", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"] == [str(tmp_path / "healthy.log")]


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


def test_standard_input_is_read(tmp_path, capsys, monkeypatch):
    packed = io.TextIOWrapper(io.BytesIO(healthy(tmp_path).read_bytes()))
    monkeypatch.setattr(sys, "stdin", packed)
    assert main(["analyze", "-", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("## standard input\n")


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


def test_a_comparison_needs_two_trainings(tmp_path, capsys):
    assert main(["analyze", "--compare", str(healthy(tmp_path))]) == 2
    assert "give two logs or folders: trainrelay analyze --compare A B" in capsys.readouterr().err


def test_the_whole_series_is_in_the_json_if_asked(tmp_path, capsys):
    path = losses(tmp_path / "a.jsonl", [1000 - at for at in range(900)])
    assert main(["analyze", "--json", "--series", path]) == 0
    curve = json.loads(capsys.readouterr().out)["curves"]["train"]["loss"]
    assert (len(curve), curve[0], curve[-1]) == (900, [1, 1000], [900, 101])
    assert main(["analyze", "--series", path]) == 2
    assert "--series belongs to --json" in capsys.readouterr().err


def test_the_page_of_a_log_is_written(tmp_path, capsys):
    page = tmp_path / "pages" / "log.html"
    assert main(["analyze", str(healthy(tmp_path)), "--html", str(page)]) == 0
    assert "healthy.log" in page.read_text()
    assert "<svg" in page.read_text()
    assert "has not started" not in page.read_text()
    assert "promoted unless" not in page.read_text()
    assert "of None" not in page.read_text()
    assert "## healthy.log" not in capsys.readouterr().out


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
