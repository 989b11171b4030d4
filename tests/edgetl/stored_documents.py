"""Documents for a store."""

from __future__ import annotations

from pathlib import Path

import benched
import fleet_records

_BENCHES = (
    ("before", "Raspberry Pi 5 Model B Rev 1.0", "2026-01-31T23:59:30Z"),
    ("after", "Raspberry Pi 500", "2026-02-01T01:30:00+01:00"),
)


def fill(folder: Path) -> Path:
    """Write results of two boards, three records of a third one, and files that are none."""
    (folder / "ci").mkdir(parents=True)
    for name, board, created in _BENCHES:

        def change(document: benched.Document, board: str = board, created: str = created) -> None:
            document["environment"]["board"] = board
            document["created"] = created

        benched.save(folder / "ci" / f"{name}.json", change)
    fleet_records.write_board(folder / "field" / "shelf-1", hours=18)
    (folder / "ci" / "notes.json").write_text('{"by": "another program"}')
    (folder / "ci" / "notes.txt").write_text("nothing")
    return folder
