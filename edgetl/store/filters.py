"""What to look for in a store: ``board=pi5 variant=int8 since=2026-01``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from edgetl_device.errors import InputError
from edgetl_device.text import closest

from .records import KINDS

KEYS = ("kind", "board", "variant", "threads", "bundle", "commit", "since", "until")
_EXAMPLES = "2026, 2026-01, 2026-01-15, 2026-01-15T08:30"
_TIME = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d))?)?)?")


@dataclass(frozen=True)
class Filters:
    """What to look for; None is anything.

    Attributes:
        kind: Kind of document.
        board: Part of the board's name, as :func:`is_board` finds it.
        variant: The variant.
        threads: CPU threads.
        bundle: Name of the bundle, or the start of its digest.
        commit: Start of the commit.
        since: The earliest time, UTC.
        before: The earliest time, UTC, that is too late.
    """

    kind: str | None = None
    board: str | None = None
    variant: str | None = None
    threads: int | None = None
    bundle: str | None = None
    commit: str | None = None
    since: datetime | None = None
    before: datetime | None = None


def parse_filters(words: Sequence[str]) -> Filters:
    """Read filters as a command line has them.

    Raises:
        InputError: A key is unknown or given twice, or a value is impossible.
    """
    found: dict[str, str] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if key not in KEYS:
            raise InputError(f"{word}: is no filter", why=f"there are {', '.join(KEYS)}", hint=closest(key, KEYS))
        if not sign or not value:
            raise InputError(f"{word}: has no value", hint=f"Write {key}=VALUE.")
        if key in found:
            raise InputError(f"{key}: is given twice", why="a document has to pass all filters")
        found[key] = value
    if (kind := found.get("kind")) and kind not in KINDS:
        raise InputError(f"kind={kind}: no such kind", why=f"there are {', '.join(KINDS)}", hint=closest(kind, KINDS))
    threads = found.get("threads")
    if threads is not None and not re.fullmatch("[1-9][0-9]{0,5}", threads):
        raise InputError(f"threads={threads}: must be a number, from 1")
    return Filters(
        kind=kind,
        board=found.get("board"),
        variant=found.get("variant"),
        threads=int(threads) if threads else None,
        bundle=found.get("bundle"),
        commit=found.get("commit"),
        since=_period("since", found["since"])[0] if "since" in found else None,
        before=_period("until", found["until"])[1] if "until" in found else None,
    )


def is_board(name: str, wanted: str) -> bool:
    """Whether a board's name has what is wanted: ``pi5`` is in ``Raspberry Pi 5 Model B``, and not in ``Pi 500``."""
    part = _squeezed(wanted)
    end = r"(?!\d)" if part[-1:].isdigit() else ""
    return bool(part) and re.search(re.escape(part) + end, _squeezed(name)) is not None


def _squeezed(text: str) -> str:
    return "".join(one for one in text.casefold() if one.isalnum())


def _period(key: str, text: str) -> tuple[datetime, datetime]:
    """Return the beginning and the end of a year, month, day or minute, UTC."""
    if not (match := _TIME.fullmatch(text)):
        raise InputError(f"{key}={text}: is no time", why=f"a time is written as {_EXAMPLES}, in UTC")
    year, month, day, hour, minute = (int(part) if part else None for part in match.groups())
    try:
        start = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0)
        if hour is not None:
            return start, start + timedelta(minutes=1)
        if day is not None:
            return start, start + timedelta(days=1)
        if month is None:
            return start, start.replace(year=start.year + 1)
        return start, (start + timedelta(days=31)).replace(day=1)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{key}={text}: is no time", why=str(error)) from None


def iso(time: datetime) -> str:
    """Return a time in UTC without a zone as text with one."""
    return time.replace(tzinfo=timezone.utc).isoformat(timespec="seconds")
