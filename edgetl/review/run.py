"""Serve the page on this machine until the user is done."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetl._lib import extras
from edgetl._lib.lock import locked
from edgetl.runs.directory import Run
from edgetl_device._lib.files import check_writable
from edgetl_device._lib.folders import PHOTO_SUFFIXES, files_below
from edgetl_device.errors import InputError, OptionError
from edgetl_device.text import normal_names

from .app import HOST, application
from .decisions import Review, document_of
from .options import ReviewOptions
from .suggestions import Suggestions, suggest


@dataclass(frozen=True)
class Reviewed:
    """How a review ended.

    Attributes:
        out: The table of labels.
        total: Photos in the folder.
        labelled: Photos with a label.
        rejected: Photos that were left out.
        left: Photos that are not decided about.
    """

    out: Path
    total: int
    labelled: int
    rejected: int
    left: int


def review(folder: Path, options: ReviewOptions, *, ready: Callable[[str], None]) -> Reviewed:
    """Show the photos of a folder on a local page, and write the labels that the user gives them.

    Args:
        folder: The folder; its photos are only read.
        options: Options of the review.
        ready: Called with the address of the page, which holds a secret, when it can be opened. The function returns
            when the user says so on the page, or presses Ctrl-C.

    Raises:
        InputError: There are no photos, the table cannot be written there, or another review has it.
        Unavailable: A package is missing.
    """
    for package in ("starlette", "uvicorn"):
        extras.check_installed(package, extra="review")
    photos = _photos(folder)
    out = Path(options.out) if options.out else folder.resolve().with_name(f"{folder.resolve().name}.csv")
    if out.suffix.lower() != ".csv":
        raise OptionError("{out=}: must end in .csv", out=options.out)
    check_writable(out)
    run = Run.open(Path(options.run)) if options.run else None
    labels = normal_names([*options.label, *(run.labels if run else ())])
    lock = document_of(out).with_suffix(".lock")
    with locked(lock, what=f"{out}: is being reviewed", hint="Go on there, or give another {out}."):
        suggestions = suggest(run, folder, photos) if run else None
        shown = [photos[place] for place in suggestions.order()] if suggestions else photos
        made = Review(folder, out, shown, labels)
        _serve(made, photos, suggestions, options.port, ready)
    return Reviewed(out, **made.counts)


def _photos(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = tuple(
        path.relative_to(folder).as_posix()
        for path in files_below(folder)
        if path.name.lower().endswith(PHOTO_SUFFIXES)
    )
    if not found:
        raise InputError(f"{folder}: contains no photos", hint=f"Photos end in {', '.join(PHOTO_SUFFIXES)}.")
    return found


def _serve(
    made: Review, photos: Sequence[str], suggestions: Suggestions | None, port: int, ready: Callable[[str], None]
) -> None:
    uvicorn = extras.require("uvicorn", extra="review")
    token = secrets.token_urlsafe(32)
    server: Any = None

    def stop() -> None:
        server.should_exit = True

    app = application(made, tuple(photos), suggestions, token=token, done=stop)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            # A browser that is quicker than the server waits.
            listening.listen()
        except OSError as error:
            raise OptionError(
                "{port=}: cannot be opened", why=str(error.strerror), hint="Leave out {port}.", port=port
            ) from None
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
        ready(f"http://{HOST}:{listening.getsockname()[1]}/?token={token}")
        # Ctrl-C is one of the two ways to end.
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
