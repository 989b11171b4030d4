"""The photos of a run together with more of them, as one table to train on."""

from __future__ import annotations

import os
from pathlib import Path

from edgetl._lib.csv import table_text
from edgetl._lib.progress import note
from edgetl.data import list_photos
from edgetl.runs.directory import Run
from edgetl_device._lib.files import check_writable, write_text
from edgetl_device.errors import InputError
from edgetl_device.text import shown


def with_more_photos(run: Run, more: Path, table: Path) -> Path:
    """Write a table that lists a run's photos and others, which is a data set like any other.

    Photos of the run keep their splits where training starts from it; the others get theirs by their content, whatever
    folders they lie in.

    Args:
        run: The run.
        more: More photos, in any form that training takes.
        table: The ``.csv`` to write. Its paths are relative to its folder.

    Returns:
        The table.

    Raises:
        InputError: Photos of the run are not where they were, ``more`` is no data set or says otherwise of a photo of
            the run, or there is another table.
    """
    check_writable(table)
    if run.truth == "model":
        raise InputError(
            f"{run.folder}: was imported without photos, so there are none to add to",
            hint=f"Train on yours alone: edgetl train {more} --from {run.folder}",
        )
    folder, found = run.photos_folder(), list_photos(more)
    _check_there(run, folder)
    rows = {_place(folder / one.path, table): one.label for one in run.samples}
    mine = len(rows)
    for one in found.files:
        place = _place(found.folder / one.path, table)
        if rows.setdefault(place, one.label) != one.label:
            raise InputError(
                f"{shown(one.path)}: is {shown(rows[place])} and {shown(one.label)}",
                why=f"{more} says the latter, but a photo has one class",
                hint=f"Correct {more}. If {run.folder} was wrong: edgetl train PHOTOS --from {run.folder}, with all "
                "photos as they should be.",
            )
    text = table_text(("path", "label"), rows.items(), verbatim=True)
    # The same is there already if training was tried before.
    if table.exists() and table.read_bytes() != text.encode():
        raise InputError(
            f"{table}: exists, and lists other photos",
            why="a run may have been trained on them",
            hint="Move it away, or choose another place: --out RUN.",
        )
    write_text(table, text)
    note(f"{len(rows):,} photos in {table}: {mine:,} of {run.folder.name}, {len(rows) - mine:,} more")
    return table


def _check_there(run: Run, folder: Path) -> None:
    missing = [one.path for one in run.samples if not (folder / one.path).is_file()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing):,} of the {len(run.samples):,} photos of {run.folder} are missing",
            why=f"such as {shown(missing[0])}",
            hint="Put them back: what was learned from them would be lost.",
        )


def _place(photo: Path, table: Path) -> str:
    return Path(os.path.relpath(photo.resolve(), table.resolve().parent)).as_posix()
