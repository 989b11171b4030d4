"""Runtime packages that are missing or broken."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from edgetl_device.errors import Unavailable
from edgetl_device.runtime import installed

Refused = Callable[[str], Unavailable]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Return the error for a package that runs this code on import."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(code: str) -> Unavailable:
        (tmp_path / "a_runtime.py").write_text(code)
        monkeypatch.delitem(sys.modules, "a_runtime", raising=False)
        with pytest.raises(Unavailable) as caught:
            installed.load("a_runtime", "a-runtime", hint="pip install a-runtime")
        return caught.value

    return load


def test_an_absent_package_says_how_to_get_it() -> None:
    with pytest.raises(Unavailable, match="no-runtime is not installed here\npip install no-runtime"):
        installed.load("no_runtime.interpreter", "no-runtime", hint="pip install no-runtime")


def test_a_package_that_lacks_another_one_is_no_absent_package(refused: Refused) -> None:
    error = refused("import a_package_that_nobody_has")
    assert error.what == "a-runtime cannot be loaded"
    assert "a_package_that_nobody_has" in error.why
    assert error.hint == "Reinstall it."


@pytest.mark.parametrize(
    "code",
    [
        "raise ImportError('libx.so.1: wrong ELF class')",
        "import ctypes; ctypes.CDLL('/nowhere/libx.so.1')",
    ],
)
def test_a_package_for_another_system(refused: Refused, code: str) -> None:
    error = refused(code)
    assert error.what.startswith("a-runtime is installed but cannot be loaded on Python 3.")
    assert "libx.so.1: " in error.why
    assert "build for this system" in error.hint


def test_a_package_that_memory_is_too_small_for(refused: Refused) -> None:
    error = refused("raise ImportError('libx.so: failed to map segment from shared object')")
    assert error.what == "not enough memory to load a-runtime"


def test_the_version_of_a_package() -> None:
    assert installed.version("numpy") == numpy.__version__
    assert installed.version("no-runtime") == "unknown"
