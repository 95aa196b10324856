"""Headless Chromium, driven over a pipe by its DevTools protocol, as a reader would."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE = 60  # seconds
# the protocol's file descriptors are 3 and 4; sys.argv: ours, then the browser's command
_START = """import fcntl, os, sys
spoken, heard = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 5) for n in sys.argv[1:3])
os.dup2(spoken, 3), os.dup2(heard, 4)
os.execv(sys.argv[3], sys.argv[3:])"""
_KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Enter": 13}


def path() -> str | None:
    """Return where a Chromium is, or None; $CHROMIUM comes first."""
    return os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, _NAMES)), None
    )


class Browser:
    """A browser with one page, which has no network but may ask for it.

    events: what the page has told of itself, requests and errors among it.
    """

    def __init__(self, chromium: str):
        self.events: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self._heard = b""
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs, self._spoken = os.pipe()
        self._replies, ours = os.pipe()
        command = [
            *(sys.executable, "-c", _START, str(theirs), str(ours), chromium),
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update"),
            *("--remote-debugging-pipe", f"--user-data-dir={self._folder.name}"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,900"),
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(theirs, ours), **quiet)
        os.close(theirs)
        os.close(ours)
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._spoken)
        os.close(self._replies)
        self._folder.cleanup()

    def call(self, method: str, **params) -> Mapping[str, Any]:
        """Call a method of the protocol and return its result."""
        call = {"id": next(self._ids), "method": method, "params": params}
        if self._session:
            call["sessionId"] = self._session
        os.write(self._spoken, json.dumps(call).encode() + b"\0")
        while (message := self._next()).get("id") != call["id"]:
            self.events.append(message)
        assert "error" not in message, (method, message)
        return message["result"]

    def open(self, page: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(e["method"] == "Page.loadEventFired" for e in self.events):
            self.events.append(self._next())

    def run(self, script: str) -> Any:
        """Return what a script's last expression is worth, of a promise its value."""
        found = self.call(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key, as a keyboard would."""
        known = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        typed = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **known, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def mouse(self, kind: str, x: float, y: float, **params) -> None:
        """Send an event of the mouse to a place of the window."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **params)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def screenshot(self, **params) -> bytes:
        """Return a PNG of what is seen."""
        return base64.b64decode(self.call("Page.captureScreenshot", **params)["data"])

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._heard:
            ready, *_ = select.select([self._replies], [], [], until - time.monotonic())
            assert ready, "the browser does not answer"
            part = os.read(self._replies, 1 << 20)
            assert part, "the browser has ended"
            self._heard += part
        message, _, self._heard = self._heard.partition(b"\0")
        return json.loads(message)
