"""Documents state the time, or the one that SOURCE_DATE_EPOCH sets."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from edgetl_device._lib.times import created
from edgetl_device.errors import InputError


def test_the_time_is_now_or_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert abs((datetime.now(timezone.utc) - datetime.fromisoformat(created())).total_seconds()) < 10
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert created() == "2023-11-14T22:13:20+00:00"
    for wrong in ("yesterday", "1e9", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(InputError, match=f"SOURCE_DATE_EPOCH={wrong}"):
            created()
