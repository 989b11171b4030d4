"""Options of ``edgetl review``."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.options import Options, option


@dataclass(frozen=True)
class ReviewOptions(Options):
    """Options of :func:`edgetl.review.review`.

    Raises:
        OptionError: A value is out of bounds.
    """

    run: str | None = option(
        None,
        metavar="RUN",
        unset="none, and no suggestions",
        help="Run whose model suggests labels, and whose training photos are shown beside each photo.",
    )
    label: tuple[str, ...] = option(
        (), metavar="NAME,...", unset="the classes of the run", help="Classes to choose from, before those of {run}."
    )
    out: str | None = option(
        None,
        metavar="FILE.csv",
        unset="beside the folder, with its name",
        help="Table of paths and labels to write, which train and data check read.",
    )
    port: int = option(0, low=0, high=65_535, help="Port of the page; 0 takes a free one.")
