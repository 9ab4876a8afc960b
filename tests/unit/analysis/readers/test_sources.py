"""What a log may come in: packed, with a prefix on each line, in a folder with other files."""

from __future__ import annotations

import gzip
import json
import random
import re

import pytest

from support.mmcv_logs import mmcv_text, write_mmcv_json_log, write_mmcv_log
from trainrelay.analysis.readers import DescribedLines, logs_of, read
from trainrelay.errors import LogError
from trainrelay.progress_lines.described import PatternReader


def rows(*paths):
    return [(row.phase, row.step, dict(row.values)) for row in read(list(paths)).rows]


@pytest.fixture
def plain(tmp_path):
    (tmp_path / "plain").mkdir()
    return write_mmcv_log(tmp_path / "plain/a.log")


def test_a_packed_log_is_read_as_it_is(tmp_path, plain):
    packed = tmp_path / "a.log.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert rows(packed) == rows(plain)


def test_of_a_packed_log_that_was_cut_the_rows_before_that_count(tmp_path, plain):
    noise = "".join(random.Random(1).choices("abcdefgh ", k=200_000))  # so that packing saves little
    packed = tmp_path / "a.log.gz"
    packed.write_bytes(gzip.compress((mmcv_text() + noise).encode())[:-5000])
    assert rows(packed) == rows(plain)


@pytest.mark.parametrize(
    "content", [b"\x1f\x8b", b"\x1f\x8b\x08\0garbage that is no archive", gzip.compress(b"\0\1\2PK", mtime=0)]
)
def test_a_broken_or_binary_archive_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(LogError) as caught:
        read([path])
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "prefix",
    [
        "2023-01-01T00:00:00.123456789Z ",
        "2023-01-01T00:00:00.123456789+02:00 stderr F ",
        '2023-01-01T00:00:00Z {app="trainer"} ',
        "[pod/trainer-x2v/main] 2023-01-01T00:00:00.1Z ",
        "trainer-1  | ",
        "trainer_1  | ",
        "\x1b[36mtrainer   |\x1b[0m 2023-01-01T00:00:00.123Z ",
        " 0: ",
    ],
)
def test_what_a_container_or_srun_puts_before_each_line_is_left_out(tmp_path, prefix):
    """Also before the lines of the config, which have no time stamp, and before objects of JSON."""
    for write in (write_mmcv_log, write_mmcv_json_log):
        bare, path = write(tmp_path / "bare.log"), tmp_path / "prefixed.log"
        path.write_text("".join(prefix + line for line in bare.read_text().splitlines(keepends=True)))
        assert rows(path) == rows(bare)
        assert read([path]).config == read([bare]).config


@pytest.mark.parametrize("key", ["log", "line"])
def test_lines_in_objects_of_docker_or_loki_are_unpacked(tmp_path, plain, key):
    objects = [
        {key: line, "time": "2023-01-01T00:00:00.1Z"} for line in mmcv_text().splitlines(keepends=True)
    ]
    path = tmp_path / "json.log"
    path.write_text("".join(json.dumps(one) + "\n" for one in objects))
    assert rows(path) == rows(plain)


def test_a_prefix_counts_although_the_batch_script_printed_lines_without_it(tmp_path):
    """An exception, and Slurm's last words, begin their lines."""
    died = (
        'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\nValueError: no such class\n'
    )
    text = "".join(
        f"{rank}: {line}" for line in (mmcv_text() + died).splitlines(keepends=True) for rank in "01"
    )
    path = tmp_path / "slurm-7.out"
    path.write_text("Job 7 on node1\nactivating\n" + text)
    log = read([path])
    assert log.rows
    assert [marker.text for marker in log.markers if marker.kind == "error"] == ["ValueError: no such class"]


@pytest.mark.parametrize("line", ["{}: loss 2.5", "step-{} | loss 2.5"])
def test_what_a_described_line_begins_with_is_no_prefix(tmp_path, line):
    path = tmp_path / "log"
    path.write_text("".join(f"{line.format(step)}\n" for step in (1, 2, 3)))
    pattern = re.escape(line).replace(r"\{\}", r"(?P<iter>\d+)").replace(r"2\.5", r"(?P<loss>\S+)")
    own = DescribedLines(lambda: PatternReader([f"^{pattern}"], 100), None, one_start=True)
    assert [(row.step, row.values["loss"]) for row in read([path], own=own).rows] == [
        (n, 2.5) for n in (1, 2, 3)
    ]


def test_the_logs_of_a_folder_are_one_training_oldest_first(tmp_path):
    """By the times in them, not by their names; the JSON beside a text log says the same."""
    later = re.sub(r"\b20\d\d-", "2099-", mmcv_text())
    (tmp_path / "a_resumed.log").write_text(later)
    first = write_mmcv_log(tmp_path / "z_first.log")
    write_mmcv_json_log(tmp_path / "z_first.log.json")
    (tmp_path / "notes.txt").write_text("hello\n")
    (tmp_path / "epoch_1.pth").write_bytes(b"PK")
    assert logs_of(tmp_path) == [first, tmp_path / "a_resumed.log"]


def test_logs_that_say_no_time_are_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9):
        (tmp_path / f"version_{number}").mkdir()
        (tmp_path / f"version_{number}/metrics.csv").write_text("epoch,step,train_loss\n0,10,2.0\n")
    assert [path.parent.name for path in logs_of(tmp_path)] == ["version_9", "version_10"]


def test_of_hugging_faces_states_the_longest_is_read(tmp_path):
    """Each checkpoint has one, with all that was logged before it."""
    for number, rows_ in (
        (500, '{"step": 1, "loss": 2}'),
        (1000, '{"step": 1, "loss": 2}, {"step": 2, "loss": 1}'),
    ):
        (tmp_path / f"checkpoint-{number}").mkdir()
        (tmp_path / f"checkpoint-{number}/trainer_state.json").write_text(f'{{"log_history": [{rows_}]}}')
    assert logs_of(tmp_path) == [tmp_path / "checkpoint-1000/trainer_state.json"]


def test_a_folder_of_several_stages_is_no_training(tmp_path):
    for stage in ("one", "two"):
        for number in ("001", "002"):
            folder = tmp_path / "mine" / stage / "attempts" / number
            folder.mkdir(parents=True)
            (folder / "trainer.log").write_text(mmcv_text(epochs=1))
    (tmp_path / "mine/one/train.log").write_text(mmcv_text(epochs=1))  # what the supervisor showed of them
    assert len(logs_of(tmp_path / "mine/one")) == 2
    with pytest.raises(LogError, match=r"holds the logs of 2 stages: give one, as .*mine/one, or several"):
        logs_of(tmp_path)


def test_a_folder_without_a_log_is_refused(tmp_path):
    with pytest.raises(LogError, match=r"holds no log of a known format; trainrelay reads mmcv text"):
        logs_of(tmp_path)
    (tmp_path / "notes.txt").write_text("hello\n")
    with pytest.raises(LogError, match=r"notes.txt: has no line of a known format; it begins: `hello`"):
        read(logs_of(tmp_path))


def test_a_file_is_itself(tmp_path):
    assert logs_of(tmp_path / "a.log") == [tmp_path / "a.log"]
