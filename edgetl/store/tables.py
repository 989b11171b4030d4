"""The tables. A change of them needs a script in ``migrations/versions``, and ``VERSION`` its number."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Double, ForeignKey, Integer, MetaData, String, Table, Text

VERSION = "0001"
# A database may be shared with other programs, so all names begin with edgetl.
VERSION_TABLE = "edgetl_version"

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# Times are UTC, without a zone: SQLite has no type for one.
DOCUMENTS = Table(
    "edgetl_documents",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("kind", String(16), nullable=False, index=True),
    Column("document", String(64), nullable=False),
    Column("created", DateTime, nullable=False, index=True),
    Column("commit_id", String(100), index=True),
    Column("body", Text, nullable=False),
)

MEASUREMENTS = Table(
    "edgetl_measurements",
    METADATA,
    Column("digest", String(64), ForeignKey(DOCUMENTS.c.digest), primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("board", Text, index=True),
    Column("bundle", String(64), index=True),
    Column("bundle_name", Text),
    Column("model", String(64)),
    Column("variant", Text, index=True),
    Column("threads", BigInteger),
    Column("batch", BigInteger),
    Column("delegate", Text),
    Column("verdict", String(16)),
    Column("p50_ms", Double),
    Column("p95_ms", Double),
    Column("photo_p50_ms", Double),
    Column("photo_p95_ms", Double),
    Column("photos", BigInteger),
    Column("top1", Double),
    Column("drop_pp", Double),
    Column("agreement", Double),
    Column("bytes", BigInteger),
    Column("ram_bytes", BigInteger),
)
