"""``--json`` and ``--out`` of commands that report: one document, on stdout or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import note, print_json

if TYPE_CHECKING:
    from edgetl_device._lib.documents import Document

JSON: bool = typer.Option(False, "--json", help="Print one JSON document on stdout.")
OUT: Path | None = typer.Option(
    None, "--out", "-o", metavar="FILE", help="Write the JSON document to a file.", show_default=False
)


def check_out(out: Path | None, *, data: Path | None = None) -> None:
    """Refuse a file that cannot be written, or is inside the data set ``data``, before the work and not after it."""
    from edgetl_device._lib.files import check_writable

    if out is not None:
        if data is not None:
            from edgetl.data import refuse_inside

            refuse_inside(data, out, file=True)
        check_writable(out)


def deliver(document: Document, *, json: bool, out: Path | None) -> bool:
    """Write and print a document as asked, and return whether it was printed."""
    from edgetl_device._lib.documents import write_or_keep

    if out is not None:
        write_or_keep(out, document)
        note(f"written: {out}")
    if json:
        print_json(document)
    return json
