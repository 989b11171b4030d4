"""The time that documents record."""

from __future__ import annotations

import os
from datetime import datetime, timezone

from ..errors import InputError

_VARIABLE = "SOURCE_DATE_EPOCH"


def created() -> str:
    """Return the time in UTC, such as ``2026-01-31T12:00:00+00:00``.

    It is ``SOURCE_DATE_EPOCH`` where that is set (https://reproducible-builds.org/specs/source-date-epoch/), so that
    equal inputs give equal files.

    Raises:
        InputError: The variable is not a number of seconds since 1970.
    """
    seconds = os.environ.get(_VARIABLE, "")
    if not seconds:
        return datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        return datetime.fromtimestamp(int(seconds), timezone.utc).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        raise InputError(f"{_VARIABLE}={seconds}", why="must be a number of seconds since 1970") from None
