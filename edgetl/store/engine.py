"""Open a store: its address, its connection, its version, and errors of the database in edgetl's words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from edgetl._lib.extras import check_installed
from edgetl_device._lib.files import check_regular, naming
from edgetl_device.errors import EdgetlError, InputError, Unavailable
from edgetl_device.text import shown

from .tables import VERSION, VERSION_TABLE

SUFFIXES = (".db", ".sqlite", ".sqlite3")
_FORMS = "postgresql://USER@HOST/NAME, sqlite:///FILE, or a file that ends in .db, .sqlite or .sqlite3"
# How long a writer waits for the others; they hold the lock for a batch.
_SQLITE_WAIT_S = 60
_CONNECT_S = 10
# Of PostgreSQL's advisory lock while tables are made or migrated: any number that others are unlikely to use.
_MIGRATING = 0x6564676574
# SQLite's messages, in part: the class of the error, and what to do. Python 3.10 gives no codes.
_SQLITE: tuple[tuple[str, type[EdgetlError], str], ...] = (
    ("not a database", InputError, "Give the file of a store, or a new one."),
    ("malformed", InputError, "The file is damaged: restore a copy, or add the documents to a new one."),
    ("unable to open", InputError, "Check the path and its permissions."),
    ("readonly", InputError, "Change the permissions of the file and its folder, or choose another place."),
    ("full", Unavailable, "Free some space; what was stored before is kept."),
    ("locked", Unavailable, "Another program holds the file; try again when it has finished."),
    ("disk I/O", Unavailable, "Check the disk (dmesg says more), and run it again."),
)


@dataclass(frozen=True)
class Store:
    """A store that can be read and written.

    Attributes:
        engine: Its database.
        name: Its address, without a password.
        secrets: Passwords of its address, which no message may have.
    """

    engine: Engine
    name: str
    secrets: tuple[str, ...] = ()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that reads."""
        with self._named(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that writes: all of the block, or nothing."""
        with self._named(), self.engine.execution_options(edgetl_writes=True).begin() as connection:
            yield connection

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            # SQLAlchemy's text has the statement and the whole document.
            known = _known(error.orig, self)
            if known is None:
                raise
            raise known from None


def connect(url: str, *, create: bool) -> Store:
    """Open a store, as :func:`edgetl.store.open_store`."""
    store = _store(_parsed(url), create=create)
    with store.reading() as connection:
        version = _version(connection, store)
    if version == VERSION:
        return store
    if version is None and not create:
        raise InputError(f"{store.name}: has nothing of edgetl yet", hint="edgetl results add makes the tables.")
    _migrate(store)
    return store


def _parsed(text: str) -> URL:
    if "://" not in text:
        if not text.endswith(SUFFIXES):
            # It may be an address with a password whose beginning is missing.
            raise InputError("the store is neither a URL nor a file of SQLite", why=f"expected {_FORMS}")
        return URL.create("sqlite", database=text)
    try:
        url = make_url(text)
        kind = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise InputError("the URL of the store cannot be read", why=f"expected {_FORMS}") from None
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise InputError("the URL of the store names no file", hint="sqlite:///FILE, or sqlite:////FOLDER/FILE")
        return URL.create("sqlite", database=url.database)
    if kind in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise InputError(f"{shown(kind)}: no such kind of store", why=f"expected {_FORMS}")


def _store(url: URL, *, create: bool) -> Store:
    if url.get_backend_name() == "sqlite":
        return _sqlite(Path(url.database or ""), create=create)
    check_installed("psycopg", extra="postgres")
    query = {name: value for name, value in url.query.items() if "password" in name}
    secrets = tuple(one for one in (url.password, *query.values()) if isinstance(one, str) and one)
    host = f"{url.host or ''}{f':{url.port}' if url.port else ''}"
    name = f"postgresql://{f'{url.username}@' if url.username else ''}{host}/{url.database or ''}"
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(_CONNECT_S)})
    return Store(create_engine(url, poolclass=NullPool), shown(name), secrets)


def _sqlite(path: Path, *, create: bool) -> Store:
    if path.is_dir():
        raise InputError(f"{path}: is a folder", why="a store is a file", hint=f"{path / 'results.db'}, for example")
    if path.exists():
        check_regular(path)
    elif not create:
        raise InputError(f"{path}: no such store", hint="Check the path; edgetl results add makes one.")
    else:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        URL.create("sqlite", database=str(path)), poolclass=NullPool, connect_args={"timeout": _SQLITE_WAIT_S}
    )

    # Python's module would begin a transaction at the first INSERT only: two that have both read before cannot both
    # write then, whatever they wait. One that will write says so at once.
    @event.listens_for(engine, "connect")
    def by_hand(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("edgetl_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return Store(engine, str(path))


def _version(connection: Connection, store: Store) -> str | None:
    """Return the version of the tables; None if there are none.

    Raises:
        InputError: It is newer than this edgetl, or the file is another program's.
    """
    found = inspect(connection)
    if not found.has_table(VERSION_TABLE):
        if store.is_sqlite and found.get_table_names():
            why = "its tables are not edgetl's"
            raise InputError(f"{store.name}: is a database of another program", why=why, hint="Give a new file.")
        return None
    version: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if version is not None and version > VERSION:
        raise InputError(
            f"{store.name}: is the store of a newer edgetl",
            why=f"its version is {shown(version)}, and this edgetl knows {VERSION}",
            hint="Update edgetl.",
        )
    return version


def _migrate(store: Store) -> None:
    """Make the tables, or bring them up to date: all of it or nothing, and one process at a time."""
    from alembic import command
    from alembic.config import Config

    with store.writing() as connection:
        if not store.is_sqlite:
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
        # Another process may have done it meanwhile.
        if _version(connection, store) == VERSION:
            return
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, VERSION)


def _known(error: BaseException | None, store: Store) -> EdgetlError | None:
    """Return an error of a database in edgetl's words; None for one that is a defect."""
    said = " ".join(str(error).split())
    for secret in store.secrets:
        said = said.replace(secret, "***")
    if isinstance(error, sqlite3.Error):
        for part, kind, hint in _SQLITE:
            if part in said:
                return kind(f"{store.name}: {said}", hint=hint)
        return None
    return _known_of_postgres(error, said, store)


def _known_of_postgres(error: BaseException | None, said: str, store: Store) -> EdgetlError | None:
    import psycopg

    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return InputError(f"{store.name}: {said}", hint="The user needs the right to create and write tables there.")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        hint = "Check address, server and network; edgetl results add --queue DIR keeps the documents until then."
        return Unavailable(f"{store.name}: {said}", hint=hint)
    return None
