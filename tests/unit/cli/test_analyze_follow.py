"""`trainrelay analyze --follow`: what is appended to a log is answered, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from support.metriclogger_logs import metriclogger_text
from support.mmcv_logs import mmcv_text
from support.stage_on_disk import OnDisk
from trainrelay.cli import main

LINES = r"^E(?P<epoch>\d+) goal (?P<goal>[\d.]+)"

pytestmark = pytest.mark.process


@contextmanager
def following(log: Path, out: Path, folder: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "trainrelay", "analyze", "--follow", str(log)]
    with out.open("wb") as file, subprocess.Popen(argv, stdout=file, stderr=file, cwd=folder) as running:
        try:
            yield running
        finally:
            running.kill()


def until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def parts(text: str, word: str) -> tuple[str, str]:
    """The text before and from the last line that holds a word."""
    lines = text.splitlines(keepends=True)
    at = max(at for at, line in enumerate(lines) if word in line)
    return "".join(lines[:at]), "".join(lines[at:])


PLAIN = "".join(f"Epoch {epoch}, step {step}/30, loss: 0.5\n" for epoch in (1, 2) for step in range(1, 31))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (mmcv_text(epochs=2), "Epoch [2]["),
        (metriclogger_text(epochs=2), "Epoch: [1]  [24"),
        (PLAIN, "Epoch 2, step 24"),
    ],
    ids=["mmcv", "MetricLogger", "console"],
)
def test_what_is_appended_is_answered_once_its_line_is_whole(tmp_path: Path, text: str, word: str) -> None:
    before, after = parts(text, word)
    line = after.partition("\n")[0]
    log, out = tmp_path / "t.log", tmp_path / "out"
    log.write_text(before)
    with following(log, out) as running:
        until(lambda: "verdict: " in out.read_text())
        said = out.read_text()
        with log.open("a") as file:
            file.write(line[:-5])
            file.flush()
            time.sleep(0.3)
            assert out.read_text() == said
            file.write(line[-5:] + "\n")
        until(lambda: out.read_text() != said)
        assert out.read_text().removeprefix(said).startswith("epoch 2, ")
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    assert "Traceback" not in out.read_text()


def test_rows_that_come_at_once_are_all_told(tmp_path: Path) -> None:
    log, out = tmp_path / "t.log", tmp_path / "out"
    lines = mmcv_text(epochs=2).splitlines(keepends=True)
    log.write_text("".join(lines[:-4]))
    with following(log, out):
        until(lambda: "verdict: " in out.read_text())
        said = len([line for line in out.read_text().splitlines() if line.startswith("epoch ")])
        with log.open("a") as file:
            file.write("".join(lines[-4:]))
        rows = sum("Epoch [" in line for line in lines[-4:])
        until(lambda: sum(one.startswith("epoch ") for one in out.read_text().splitlines()) == said + rows)
        assert (said, rows > 1) == (1, True)


def test_a_bar_is_told_when_its_next_state_is_drawn(tmp_path: Path) -> None:
    """The newest one ends no line."""
    log, out = tmp_path / "t.log", tmp_path / "out"
    states = [
        f"\rEpoch 1: {10 * at:3d}%|##  | {at}/10 [00:01<00:02,  2.00it/s, loss=0.{at}]" for at in range(1, 10)
    ]
    log.write_text("".join(states[:6]))
    with following(log, out):
        until(lambda: "epoch 1, iter 5: loss 0.5" in out.read_text())
        with log.open("a") as file:
            file.write("".join(states[6:]))
        until(lambda: "epoch 1, iter 8: loss 0.8" in out.read_text())
        assert "iter 9" not in out.read_text()


def test_of_which_format_bars_are_is_seen_once_other_lines_come(tmp_path: Path) -> None:
    """The first averages of a trainer of the MetricLogger family come after an epoch of bars."""
    log, out = tmp_path / "t.log", tmp_path / "out"
    bars = "".join(
        f"\rEpoch {{}}: {25 * at:3d}%|##  | {at}/4 [00:01<00:02,  2.00it/s, loss=0.5]" for at in range(1, 5)
    )
    log.write_text(bars.format(*[0] * 4))
    with following(log, out):
        until(lambda: "verdict: " in out.read_text())
        with log.open("a") as file:
            file.write("\nAveraged stats: lr: 0.0001  loss: 0.5000 (nan)\n" + bars.format(*[1] * 4))
        until(lambda: "loss is NaN at epoch 1 (mean)" in out.read_text())


def test_a_new_finding_is_printed_once(tmp_path: Path) -> None:
    log, out = tmp_path / "t.log", tmp_path / "out"
    before, after = parts(mmcv_text(epochs=2), "Epoch [2][")
    log.write_text(before)
    with following(log, out):
        until(lambda: "verdict: healthy" in out.read_text())
        head, _, _ = after.partition(" loss: ")
        for at in (1, 2):
            with log.open("a") as file:
                file.write(head.replace("[2][", f"[{2 + at}][") + " loss: nan, grad_norm: nan\n")
            until(lambda: f"epoch {2 + at}, iter" in out.read_text())  # noqa: B023
        until(lambda: "verdict: failed" in out.read_text())
        assert out.read_text().count("critical: loss is NaN") == 1


def test_a_log_that_begins_again_is_read_from_its_start(tmp_path: Path) -> None:
    log, out = tmp_path / "t.log", tmp_path / "out"
    log.write_text(mmcv_text(epochs=2))
    with following(log, out):
        until(lambda: "epoch 2, iter" in out.read_text())
        os.truncate(log, 0)
        until(lambda: "begins again" in out.read_text())
        log.write_text(mmcv_text(epochs=1))
        until(lambda: "epoch 1, iter" in out.read_text())


def test_your_lines_and_your_words_of_metrics_are_followed(tmp_path: Path) -> None:
    """Both of the config beside which it is typed."""
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    config = disk.config().model_dump(mode="json", exclude_unset=True)
    run = config["runs"]["r"]
    run["trainer"] = {
        **run["trainer"],
        "kind": "script",
        "script": {"command": "{interpreter} {entry}", "checkpoints": "*_{epoch}.pth", "progress": [LINES]},
    }
    (tmp_path / "own.yaml").write_text("{total: goal, metrics: [{pattern: goal, group: a, label: b}]}")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "knowledge": ["own.yaml"]}))
    log, out = tmp_path / "t.log", tmp_path / "out"
    log.write_text("".join(f"E{at} goal {9 - at / 4}\n" for at in range(1, 21)))
    with following(log, out, tmp_path):
        until(lambda: "verdict: " in out.read_text())
    assert "total loss dropped from" in out.read_text()


def test_only_one_log_is_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "--follow", "-"]) == 2
    assert main(["analyze", "--follow", str(tmp_path / "none.log")]) == 2
    assert "trainrelay analyze --follow LOG" in capsys.readouterr().err
