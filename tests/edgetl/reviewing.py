"""``edgetl review`` as a process, and a client of its page. For tests."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest


@contextmanager
def serving(*arguments: object, said: list[str] | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``edgetl review`` and yield the address that it prints; ``said`` gets the lines until then."""
    command = [sys.executable, "-m", "edgetl", "review", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = [] if said is None else said
            for line in process.stderr:
                lines.append(line)
                if found := re.search(r"open (http://127\.0\.0\.1:\d+/\?token=\S+)", line):
                    break
            else:
                pytest.fail("".join(lines))
            yield found[1], process
        finally:
            # It ends as users end it, and is measured to its end.
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def let_in(address: str) -> tuple[http.client.HTTPConnection, str]:
    """Open a page, and return the connection and the cookie."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request("GET", f"/?{parts.query}")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    return connection, cookie.partition(";")[0]


def client(address: str, **changes: Any) -> Callable[..., Any]:
    """Open a page and return a function that asks it, and gives the answer's JSON, or its code if that is not 200."""
    connection, cookie = let_in(address)
    usual = {"Cookie": cookie, "Content-Type": "application/json"}

    def ask(method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        connection.request(method, path, sent, usual | changes | headers)
        answer = connection.getresponse()
        data = answer.read()
        assert (
            answer.headers["content-security-policy"] is None
            or "default-src 'none'" in (answer.headers["content-security-policy"])
        )
        return json.loads(data) if answer.status == 200 and data[:1] == b"{" else answer.status

    return ask
