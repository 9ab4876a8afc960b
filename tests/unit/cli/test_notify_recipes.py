"""The recipes of docs/howto.md for `notify`, each run as written there against a server on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.process

HOWTO = (Path(__file__).resolve().parents[3] / "docs/howto.md").read_text()
NOTICE = {
    "event": "complete",
    "run": "r",
    "stage": "s",
    "text": "3 of 3 epochs trained",
    "report": "/out/r.html",
}


def recipe(after: str) -> str:
    """The first block of code after these words."""
    found = re.search(r"```\w+\n(.*?)```", HOWTO.partition(after)[2], re.DOTALL)
    assert found, after
    return found[1]


@contextmanager
def serving(handler: Any) -> Iterator[tuple[int, list[str]]]:
    """A server on a free port, and what it was sent."""
    kind = TCPServer if issubclass(handler, Mail) else HTTPServer
    with kind(("127.0.0.1", 0), handler) as server:
        handler.got = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], handler.got
        server.shutdown()


class Web(BaseHTTPRequestHandler):
    got: list[str]

    def do_POST(self) -> None:
        self.got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Mail(StreamRequestHandler):
    got: list[str]

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            word = line.split()[0].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.got.append(b"".join(lines).decode())
            self.wfile.write(b"250 ok\r\n" if word != b"QUIT" else b"221 bye\r\n")
            if word == b"QUIT":
                return


def run(*argv: str, home: Path) -> None:
    env = {**os.environ, "HOME": str(home), "no_proxy": "*", "NO_PROXY": "*"}
    done = subprocess.run(
        argv, input=json.dumps(NOTICE), text=True, env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_ntfy(tmp_path: Path) -> None:
    with serving(Web) as (port, got):
        words = yaml.safe_load(recipe("[ntfy]"))["notify"]
        run(*(word.replace("https://ntfy.sh", f"http://127.0.0.1:{port}") for word in words), home=tmp_path)
        assert json.loads(got[0]) == NOTICE


def test_mail(tmp_path: Path) -> None:
    with serving(Mail) as (port, got):
        code = recipe("Mail, `notify").replace('"localhost", 25', f'"127.0.0.1", {port}')
        run(sys.executable, "-c", code, home=tmp_path)
        assert "Subject: r/s: complete" in got[0]
        assert "3 of 3 epochs trained" in got[0]


def test_slack(tmp_path: Path) -> None:
    with serving(Web) as (port, got):
        (tmp_path / ".slack-webhook").write_text(f"http://127.0.0.1:{port}/services/x\n")
        run(sys.executable, "-c", recipe("Slack, `notify"), home=tmp_path)
        assert json.loads(got[0]) == {"text": "*r/s: complete*\n3 of 3 epochs trained"}
