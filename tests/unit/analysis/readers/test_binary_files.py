"""NUL bytes in a log, as a crash on a network file system leaves them, and files that are no logs."""

from __future__ import annotations

import io
import pickle
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.metriclogger_logs import metriclogger_text, write_metriclogger_json
from support.mmcv_logs import mmcv_text, write_mmcv_json_log
from trainrelay.analysis.readers import read
from trainrelay.analysis.readers.read import LINE_LIMIT, PROBE_BYTES
from trainrelay.errors import LogError

NULS = b"\0" * 3_000


def log_of(tmp_path, content):
    path = tmp_path / "console.log"
    path.write_bytes(content)
    return read([path])


def line_ends(text, marks):
    """The places after the lines that hold one of these marks."""
    return [text.index(b"\n", text.index(mark)) + 1 for mark in marks]


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        (metriclogger_text(epochs=3), [b"Namespace", b"[1]  [10/", b"[2]  [24/"]),
        (mmcv_text(epochs=3), [b"Environment", b"[1][100/", b"[3][100/"]),
    ],
    ids=["metriclogger", "mmcv"],
)
def test_nul_bytes_between_lines_change_nothing(tmp_path, text, marks):
    clean = log_of(tmp_path, text.encode())
    dirty = text.encode()
    for at in [len(dirty), *reversed(line_ends(dirty, marks)), 0]:
        dirty = dirty[:at] + NULS + dirty[at:]
        log = log_of(tmp_path, dirty)
        assert (log.rows, log.markers, log.segments) == (clean.rows, clean.markers, clean.segments)
        assert (log.skipped_lines, log.setup, log.config) == (0, clean.setup, clean.config)


def test_more_nul_bytes_than_are_looked_at_first_are_read_over(tmp_path):
    text = metriclogger_text(epochs=1).encode()
    log = log_of(tmp_path, b"\0" * (PROBE_BYTES + LINE_LIMIT) + text)
    assert log.rows == log_of(tmp_path, text).rows


@pytest.mark.parametrize("write", [write_metriclogger_json, write_mmcv_json_log])
def test_nul_bytes_after_json_change_nothing(tmp_path, write):
    content = write(tmp_path / "log.txt", epochs=2).read_bytes()
    assert log_of(tmp_path, content + NULS).rows == log_of(tmp_path, content).rows


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (metriclogger_text(epochs=3), b"Epoch: [1]  [10/"),
        (mmcv_text(epochs=3), b"Epoch [2][50/"),
    ],
    ids=["metriclogger", "mmcv"],
)
def test_a_line_that_nul_bytes_cut_is_not_joined_with_what_follows(tmp_path, text, line):
    clean = log_of(tmp_path, text.encode())
    content = text.encode()
    at = content.index(b"loss", content.index(line)) + 60
    log = log_of(tmp_path, content[:at] + NULS + content[at + len(NULS) :])
    assert set(map(str, log.rows)) < set(map(str, clean.rows))
    assert log.segments == 1


def zipped(text):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", text)
    return out.getvalue()


def archived(text):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("console.log")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    return out.getvalue()


LOG = metriclogger_text(epochs=1).encode()


@pytest.mark.parametrize(
    "content",
    [
        zipped(LOG),
        archived(LOG),
        pickle.dumps({"model": b"\0\1\2", "note": "x" * 70_000}),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0",
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1",
        Path(sys.executable).read_bytes()[:100_000],
    ],
    ids=["zip", "tar", "pickle", "png", "jpeg", "executable"],
)
def test_a_binary_file_is_refused_though_it_may_hold_a_log(tmp_path, content):
    with pytest.raises(LogError, match="is a binary file, not a log"):
        log_of(tmp_path, content)


def test_text_in_utf_16_as_of_powershell_is_read(tmp_path):
    assert log_of(tmp_path, LOG.decode().encode("utf-16")).rows == log_of(tmp_path, LOG).rows


def test_a_file_of_nothing_but_nul_bytes_is_refused(tmp_path):
    with pytest.raises(LogError, match="has no line of a known format"):
        log_of(tmp_path, NULS)
