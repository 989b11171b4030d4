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
from edgetl._lib.progress import note
from edgetl.runs.directory import Run
from edgetl_device._lib.files import check_writable
from edgetl_device._lib.folders import PHOTO_SUFFIXES, photos_below
from edgetl_device.errors import InputError, OptionError
from edgetl_device.text import normal, shown

from .app import HOST, application
from .decisions import Review, document_of, is_one_line, why_no_class
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
        absent: Photos besides that were decided about, but are not in the folder any more.
    """

    out: Path
    total: int
    labelled: int
    rejected: int
    left: int
    absent: int


def review(folder: Path, options: ReviewOptions, *, ready: Callable[[str], None]) -> Reviewed:
    """Show the photos of a folder on a local page, and write the labels that the user gives them.

    Args:
        folder: The folder; its photos are only read.
        options: Options of the review.
        ready: Called with the address of the page, which holds a secret, when it can be opened. The function returns
            when the user says so on the page, or presses Ctrl-C.

    Raises:
        InputError: There are no photos, the table cannot be written there, is edited, or another review has it.
        Unavailable: A package is missing.
    """
    for package in ("starlette", "uvicorn"):
        extras.check_installed(package, extra="review")
    given = _given(options.label)
    photos = _photos(folder)
    out = Path(options.out) if options.out else folder.resolve().with_name(f"{folder.resolve().name}.csv")
    if out.suffix.lower() != ".csv":
        raise OptionError("{out=}: must end in .csv", out=options.out)
    check_writable(out)
    run = Run.open(Path(options.run)) if options.run else None
    labels = _together(given, run.labels if run else ())
    lock = document_of(out).with_suffix(".lock")
    with locked(lock, what=f"{out}: is being reviewed", hint="Go on there, or give another {out}."):
        suggestions = suggest(run, folder, photos) if run else None
        order = [photos[place] for place in suggestions.order()] if suggestions else photos
        made = Review(folder, out, order, labels)
        _serve(made, photos, suggestions, options.port, ready)
    return Reviewed(out, **made.counts)


def _photos(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = [path.relative_to(folder).as_posix() for path in photos_below(folder)]
    if not found:
        raise InputError(f"{folder}: contains no photos", hint=f"Photos end in {', '.join(PHOTO_SUFFIXES)}.")
    kept = tuple(filter(is_one_line, found))
    if odd := [path for path in found if not is_one_line(path)]:
        said = f"{len(odd):,} of its {len(found):,} photos have names that are not UTF-8, or have line breaks"
        if not kept:
            raise InputError(f"{folder}: {said}", why=f"such as {shown(odd[0])}", hint="Rename them.")
        note(f"note: left out: {said}, such as {shown(odd[0])}")
    return kept


def _given(names: Sequence[str]) -> list[str]:
    """Return the classes that the user names, each in the form that edgetl stores."""
    for name in names:
        if why := why_no_class(normal(name)):
            raise OptionError("{label=}: a class cannot have this name", why=why, hint="Choose another.", label=name)
    return list(map(normal, names))


def _together(given: Sequence[str], learned: Sequence[str]) -> list[str]:
    """Return the classes to choose from: those given first, those of the run as they are, none twice."""
    spelled = {normal(one): one for one in learned}
    return list(dict.fromkeys([*(spelled.get(one, one) for one in given), *learned]))


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
