"""Errors of the operating system: which are the input's, the machine's, or defects."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import subprocess
import sys

import pytest
from branches import UNMEASURED

from edgetl_device.errors import EdgetlError, InputError, Unavailable, from_os_error, is_of_machine, out_of_memory


def of_system(number: int) -> OSError:
    return OSError(number, os.strerror(number), "a/b")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (of_system(errno.ENOENT), InputError, "a/b: no such file or folder"),
        (of_system(errno.EACCES), InputError, "a/b: Permission denied"),
        (of_system(errno.ENOSPC), Unavailable, "a/b: could not be written: No space left on device"),
        (of_system(errno.EFBIG), Unavailable, "a/b: could not be written: File too large"),
        (of_system(errno.EMFILE), Unavailable, "a/b: Too many open files"),
        (of_system(errno.ECONNREFUSED), Unavailable, "a/b: Connection refused"),
        (TimeoutError("timed out"), Unavailable, "timed out"),
        (socket.gaierror(-2, "Name or service not known"), Unavailable, "Name or service not known"),
        (ssl.SSLCertVerificationError(1, "certificate has expired"), Unavailable, "certificate has expired"),
        (of_system(errno.EBADF), EdgetlError, "a/b: Bad file descriptor"),
        (OSError("of a library"), EdgetlError, "of a library"),
    ],
)
def test_whose_affair_an_error_is(error: OSError, kind: type[EdgetlError], said: str) -> None:
    found = from_os_error(error)
    assert type(found) is kind
    assert found.what == said
    # An error that the user can fix has a hint; a defect has none.
    assert bool(found.hint) == (kind is not EdgetlError)
    assert is_of_machine(error) == (kind is Unavailable)


def test_memory_that_ran_out_says_for_what() -> None:
    assert out_of_memory("to load a model", "std::bad_alloc").what == "not enough memory to load a model"
    assert out_of_memory().exit_code == 4


def test_no_folder_for_temporary_files() -> None:
    """In a namespace of files of its own, where /tmp and what else is usual is read-only."""
    script = """
import ctypes, os, tempfile
from edgetl_device.errors import from_os_error
for folder in (b"/tmp", b"/var/tmp"):
    assert ctypes.CDLL(None).mount(b"none", folder, b"tmpfs", 1, None) == 0  # MS_RDONLY
os.chdir("/proc")
try:
    tempfile.TemporaryFile()
except OSError as error:
    found = from_os_error(error)
    print(found.exit_code, found.for_command_line(), sep="\\n")
"""
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "TMPDIR"} | UNMEASURED,
    )
    if done.returncode and "unshare" in done.stderr + done.stdout:
        pytest.skip("this system lets nobody have a namespace of files")
    code, what, why, hint = done.stdout.splitlines()
    assert code == "4", done.stderr
    assert what == "there is no folder for temporary files"
    assert "'/tmp', '/var/tmp'" in why
    assert hint.startswith("Set TMPDIR to a folder that can be written")
