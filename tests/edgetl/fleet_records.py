"""Records of a fleet as ``edgetl field pull`` brings them home. For tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from drawing import draw_photo

from edgetl_device._lib import documents
from edgetl_device._lib.documents import Unknown
from edgetl_device.bundle import BundleName
from edgetl_device.monitor.collection import CollectionDocument, Kept
from edgetl_device.monitor.record import (
    Drift,
    FeatureShift,
    MonitorRecord,
    Spread,
    Temperature,
    UnknownPhotos,
    line_of,
)

BUNDLE = BundleName("parts", "ab" * 32)
_START = datetime(2027, 1, 15, 8, tzinfo=timezone.utc)
RATE = 0.001


def spread(value: float) -> Spread:
    """Return values around one."""
    return Spread(value, 0.8 * value, value, 1.2 * value)


def record(hour: int, *, brightness: float = 120.0, unknown: int = 3, alarms: int = 0) -> MonitorRecord:
    """Return what a board saw in an hour: 400 photos, in 4 windows."""
    shift = FeatureShift("brightness", "below", 94.5, 90, 29, 0.001) if alarms else None
    return MonitorRecord(
        start=(_START + timedelta(hours=hour)).isoformat(timespec="seconds"),
        seconds=3600.0,
        ended="hour",
        bundle=BUNDLE,
        variant="int8",
        photos=400,
        failed=1,
        classes={"bolt": 300, "gear": 100},
        confidence=spread(0.8),
        unknown=UnknownPhotos(unknown, unknown / 400),
        brightness=spread(brightness),
        sharpness=spread(0.2),
        latency_ms=spread(12.0 + hour % 3),
        temperature_c=Temperature(50.0, 55.0) if hour % 5 else Unknown("no sensor"),
        drift=Drift(True, ("brightness",), 120, 100, RATE, 4, alarms, 1e-9 if alarms else 0.4, shift),
    )


Change = Callable[[int], MonitorRecord]


def write_board(folder: Path, change: Change = record, *, hours: int = 72) -> Path:
    """Write the records of a board, some every day."""
    folder.mkdir(parents=True)
    for hour in range(0, hours, 6):
        made = change(hour)
        with open(folder / f"{made.start[:10]}.jsonl", "ab") as stream:
            stream.write(line_of(made))
    return folder


def write_photos(folder: Path, count: int = 3) -> None:
    """Write photos that a monitor kept, and its list of them."""
    (folder / "photos").mkdir()
    kept = []
    for number in range(count):
        path = folder / "photos" / "new.png"
        draw_photo(500 + number).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        reason = ("unknown", "uncertain", "random")[number % 3]
        path = path.rename(path.with_name(f"{reason}-{sha256[:16]}.png"))
        kept.append(
            Kept(
                file=path.name,
                sha256=sha256,
                bytes=path.stat().st_size,
                reason=reason,  # type: ignore[arg-type]  # one of them
                hour=_START.isoformat(timespec="seconds"),
                bundle=BUNDLE.digest,
                label="bolt",
                confidence=0.5,
                unknown_score=1.5 if reason == "unknown" else 0.5,
                place=(0.0,),
            )
        )
    documents.write(folder / "photos.json", CollectionDocument(100, tuple(kept)))


def write_fleet(folder: Path, boards: int = 6) -> Path:
    """Write a fleet: the light of the last board goes out, the others are as usual."""

    def dark(hour: int) -> MonitorRecord:
        return record(hour, brightness=120.0 - 1.2 * hour, unknown=3 + hour, alarms=hour // 18)

    for number in range(boards - 1):
        steady = float(118 + number)
        write_board(folder / f"shelf-{number}", lambda hour, steady=steady: record(hour, brightness=steady))
    write_photos(write_board(folder / f"shelf-{boards - 1}", dark))
    return folder


def quiet(one: MonitorRecord) -> MonitorRecord:
    """Return a record of a bundle that cannot tell unknown photos and has no held-out ones."""
    nothing = Unknown("the bundle has no features")
    return replace(one, unknown=nothing, drift=nothing, confidence=None)
