"""Measurements as people read them."""

from __future__ import annotations

import pytest

from edgetl.cli.console.stored import COLUMNS, cells, column_names, records
from edgetl.store.document import Measurement, StoredRow


@pytest.mark.parametrize(
    ("p50_ms", "shown"),
    [(None, "-"), (0.01385, "0.014"), (0.896, "0.896"), (1.859, "1.86"), (12.34, "12.3"), (1234.5, "1234")],
)
def test_times_and_what_is_not_known(p50_ms: float | None, shown: str) -> None:
    row = StoredRow(
        "ab" * 32, "bench", "edgetl.result/1", "2026-01-31T23:59:30+00:00", None, Measurement(p50_ms=p50_ms)
    )
    (found,) = cells([row])
    assert len(found) == len(COLUMNS)
    assert dict(zip(COLUMNS, found, strict=True))["p50 ms"] == shown
    assert dict(zip(COLUMNS, found, strict=True))["commit"] == "-"
    (record,) = records([row])
    assert tuple(record) == column_names()
    assert record["p50_ms"] == p50_ms
