"""Fixtures for all tests. Imports nothing that a board would not have: tests/device runs with this file too."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from branches import UNMEASURED
from drawing import draw_photo
from programs import needs_program

REPO = Path(__file__).resolve().parent.parent
_COVERAGE = pytest.StashKey[str]()


def pytest_configure() -> None:
    # A shell that starts the tests in the background ignores Ctrl-C for them, and child processes would inherit that.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--coverage-bounds", action="store_true", help="hold what --cov measured against tests/branches.py"
    )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    # Only in the coordinating process: a worker has measured only a part.
    if not session.config.getoption("--coverage-bounds") or hasattr(session.config, "workerinput"):
        return
    import branches

    text, enough = branches.report(branches.measured(session.config.rootpath / ".coverage"))
    session.config.stash[_COVERAGE] = text
    if not enough and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if text := terminalreporter.config.stash.get(_COVERAGE, None):
        terminalreporter.section("branch coverage")
        terminalreporter.write_line(text)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs_program"):
        for name in mark.args:
            needs_program(name)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos: ``$EDGETL_SHARED_DATA``, else the folder beside the checkout."""
    folder = Path(os.environ.get("EDGETL_SHARED_DATA") or REPO.parent / "shared" / "data")
    if not (folder / "flowers").is_dir():
        pytest.skip("the shared photos are not here")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache out of the tests, and the tests out of the user's cache."""
    before = os.environ.get("EDGETL_CACHE")
    base = tmp_path_factory.getbasetemp()
    # One for all processes of pytest-xdist.
    os.environ["EDGETL_CACHE"] = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache")
    yield
    if before is None:
        del os.environ["EDGETL_CACHE"]
    else:
        os.environ["EDGETL_CACHE"] = before


@pytest.fixture(autouse=True)
def _children_are_not_measured_either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("no_cover"):
        for name, value in UNMEASURED.items():
            monkeypatch.setenv(name, value)


@pytest.fixture
def photo_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes distinct PNGs to folders, given their counts: ``{"train/cat": 5}``."""

    def make(counts: dict[str, int], name: str = "photos", first_seed: int = 0) -> Path:
        root = tmp_path / name
        seed = first_seed
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                draw_photo(seed).save(root / folder / f"{index:03}.png")
                seed += 1
        return root

    return make
