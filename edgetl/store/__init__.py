"""A database of runs, quantizations, benches, comparisons and records of the field, which a team can query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetl._lib.extras import check_installed

if TYPE_CHECKING:
    from .engine import Store

__all__ = ["open_store"]


def open_store(url: str, *, create: bool = False) -> Store:
    """Open a store; one of an earlier edgetl is brought up to date.

    Args:
        url: ``postgresql://USER@HOST/NAME``, ``sqlite:///FILE``, or a path that ends in .db, .sqlite or .sqlite3.
        create: Whether to create the file, and the tables, if there are none.

    Raises:
        InputError: It is no store, or one of a newer edgetl.
        Unavailable: It cannot be reached, or a package is missing.
    """
    for module in ("sqlalchemy", "alembic"):
        check_installed(module, extra="store")
    from .engine import connect

    return connect(url, create=create)
