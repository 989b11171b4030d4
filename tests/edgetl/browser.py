"""Chromium without a window, driven by real key presses: the DevTools protocol over a pipe. For tests."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from programs import needs_program

_PATIENCE_S = 60.0
# Keys that are not one character: what they type, and their code on a Windows keyboard.
_NAMED = {"Enter": ("\r", 13), "Escape": ("", 27), "Tab": ("", 9)}


class Tab:
    """One tab of a browser."""

    def __init__(self, to: Any, of: Any) -> None:
        self._to, self._of, self._last = to, of, 0
        (page,) = [one for one in self._ask("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self._ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self.messages: list[str] = []
        self.ask("Page.enable")
        self.ask("Runtime.enable")
        self.ask("Log.enable")

    def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of the protocol in this tab."""
        return self._ask(method, self._session, **arguments)

    def _ask(self, method: str, session: str | None = None, **arguments: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": arguments}
        self._to.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        self._to.flush()
        while True:
            answer = json.loads(self._read())
            if answer.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.messages.append(json.dumps(answer["params"]))
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer)
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> bytes:
        found = bytearray()
        while (one := self._of.read(1)) != b"\0":
            assert one, "the browser has ended"
            found += one
        return bytes(found)

    def open(self, address: str, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Open an address in a window of this size."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.protocol !== 'about:'")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, as a hand does."""
        for key in keys:
            text, code = _NAMED.get(key, (key, ord(key[0].upper())))
            shared = {"key": key, "windowsVirtualKeyCode": code}
            self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **shared)

    def value(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, script: str, is_right: Callable[[Any], bool] = bool) -> Any:
        """Return the value of an expression as soon as it is right."""
        end = time.monotonic() + _PATIENCE_S
        while not is_right(found := self.value(script)):
            assert time.monotonic() < end, (script, found, self.messages)
            time.sleep(0.05)
        return found

    def photograph(self, target: Path) -> None:
        """Keep a picture of the whole page."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """Start a browser with one empty tab."""
    to_read, to = os.pipe()
    of, of_write = os.pipe()

    def ends() -> None:
        # The protocol is on these two. High numbers first: a pipe may have one of them.
        high = [os.dup2(end, number) for end, number in ((to_read, 200), (of_write, 201))]
        for end, number in zip(high, (3, 4), strict=True):
            os.dup2(end, number)

    command = [needs_program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command, preexec_fn=ends, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(of_write)
    try:
        with open(to, "wb") as writing, open(of, "rb") as reading:
            yield Tab(writing, reading)
    finally:
        process.kill()
        process.wait()
