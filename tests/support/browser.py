"""One headless Chromium for all tests of a process, driven by its own protocol over a pipe."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

HEADLESS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
)


def chromium() -> str | None:
    """The browser, if this machine has one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """A browser with one page; `console` is what the page and the browser complained about since `open`."""

    def __init__(self, program: str) -> None:
        self._folder = Path(tempfile.mkdtemp())
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()

        def as_3_and_4() -> None:
            high_in, high_out = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(high_in, 3)
            os.dup2(high_out, 4)

        argv = [program, *HEADLESS, "--remote-debugging-pipe", f"--user-data-dir={self._folder / 'profile'}"]
        self._process = subprocess.Popen(
            argv,
            preexec_fn=as_3_and_4,  # noqa: PLW1509 - it only renumbers two files
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._session, self._numbers = b"", "", itertools.count(1)
        self._happened: list[dict[str, Any]] = []
        self.console: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        """End the browser and remove what it wrote."""
        os.close(self._out)
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, method: str, **params: Any) -> Any:
        """The result of one command of the protocol."""
        number = next(self._numbers)
        sent = {"id": number, "method": method, "params": params}
        if self._session:
            sent["sessionId"] = self._session
        os.write(self._out, json.dumps(sent).encode() + b"\0")
        while (got := self._next()).get("id") != number:
            self._happened.append(got)
        assert "error" not in got, f"{method}: {got.get('error')}"
        return got["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        whole, _, self._rest = self._rest.partition(b"\0")
        got: dict[str, Any] = json.loads(whole)
        params = got.get("params", {})
        if got.get("method") == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif got.get("method") == "Runtime.exceptionThrown":
            self.console.append(params["exceptionDetails"]["exception"].get("description", "exception"))
        elif got.get("method") == "Runtime.consoleAPICalled":
            self.console.append(str([each.get("value") for each in params["args"]]))
        elif got.get("method") == "Network.requestWillBeSent" and not params["request"]["url"].startswith(
            ("file:", "data:", "about:")
        ):
            self.console.append(f"request: {params['request']['url']}")
        return got

    def open(self, source: str, *, width_px: int = 1000, dark: bool = False, script: bool = True) -> None:
        """Show a page, from a file of the disk."""
        file = self._folder / "report.html"
        file.write_text(source, encoding="utf-8")
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        self.show(width_px=width_px, dark=dark)
        self.console.clear()
        self._happened.clear()
        self.ask("Page.navigate", url=file.as_uri())
        while not any(each.get("method") == "Page.loadEventFired" for each in self._happened):
            self._happened.append(self._next())

    def show(self, *, width_px: int = 1000, dark: bool = False) -> None:
        """The window so wide, in these colours."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=scheme)
        size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise's, once it is kept."""
        done = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, clicks: int = 0) -> None:
        """`Moved`, `Pressed` or `Released` at a place of the window, by the left button."""
        button = "left" if clicks else "none"
        held = int(kind != "Released" and bool(clicks))
        self.ask(
            "Input.dispatchMouseEvent",
            type=f"mouse{kind}",
            x=x,
            y=y,
            button=button,
            buttons=held,
            clickCount=clicks,
        )

    def click(self, x: float, y: float, times: int = 1) -> None:
        """Click there, or double-click."""
        for at in range(1, times + 1):
            self.mouse("Pressed", x, y, at)
            self.mouse("Released", x, y, at)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """The page as a PNG; for people."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
