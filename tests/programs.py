"""Programs that some tests need and pip does not install.

If one is missing, the tests that need it are skipped, and the skip says what to install. With ``CI=true`` they fail
instead, because an unattended run must not pass by skipping tests. Run as a script, this prints the Debian packages of
the missing programs, for ``.ci/run`` to install.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import NoReturn


@dataclass(frozen=True)
class Program:
    """A program.

    Attributes:
        names: Its possible names; the first one found is used.
        package: The Debian package that contains it.
        purpose: What the tests use it for.
    """

    names: tuple[str, ...]
    package: str
    purpose: str


PROGRAMS = {
    "sshd": Program(("sshd",), "openssh-server", "boards over SSH, on loopback"),
    "ssh": Program(("ssh",), "openssh-client", "boards over SSH, on loopback"),
    "ps": Program(("ps",), "procps", "nothing is left running on a board"),
    "chromium": Program(("chromium", "chromium-browser", "google-chrome"), "chromium", "pages as they are seen"),
    "gcc": Program(("gcc", "cc"), "gcc", "C arrays, and a delegate to load"),
    "g++": Program(("g++",), "g++", "C arrays in C++"),
    "systemd-analyze": Program(("systemd-analyze",), "systemd", "the service of docs/guides/application.md"),
}

# Debian's folders for administrators' programs, which are not on every user's path.
_ADMINISTRATORS = ("/usr/sbin", "/usr/local/sbin")


def find_program(name: str) -> str | None:
    """Return the path of a program of ``PROGRAMS``; None if it is missing."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_ADMINISTRATORS))
    return next((found for one in PROGRAMS[name].names if (found := shutil.which(one, path=path))), None)


def needs_program(name: str) -> str:
    """Return the path of a program of ``PROGRAMS``; end the test if it is missing.

    As a mark, for all tests of a module: ``pytestmark = pytest.mark.needs_program("ssh", "sshd")``.
    """
    if found := find_program(name):
        return found
    cannot_run(f"no {name} here: apt install {PROGRAMS[name].package}")


def cannot_run(why: str) -> NoReturn:
    """End a test that this machine cannot run: skip it, or fail it with ``CI=true``."""
    import pytest

    if os.environ.get("CI") == "true":
        pytest.fail(f"{why} (with CI=true, such a test is not skipped)", pytrace=False)
    pytest.skip(why)


if __name__ == "__main__":
    print(*sorted({program.package for name, program in PROGRAMS.items() if find_program(name) is None}))
