"""Stores for tests: a file of SQLite, and a database of a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest
import stored_documents


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """A PostgreSQL."""
    with postgres.running() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is not there yet."""
    if request.param == "sqlite":
        return str(tmp_path / "results.db")
    found: postgres.Server = request.getfixturevalue("server")
    return found.url(found.new())


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The folder of :func:`stored_documents.fill`."""
    return stored_documents.fill(tmp_path / "documents")
