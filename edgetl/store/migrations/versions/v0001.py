"""Documents, and the measurements in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "edgetl_documents",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("document", sa.String(64), nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("commit_id", sa.String(100)),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_edgetl_documents"),
    )
    op.create_table(
        "edgetl_measurements",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("place", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("board", sa.Text),
        sa.Column("bundle", sa.String(64)),
        sa.Column("bundle_name", sa.Text),
        sa.Column("model", sa.String(64)),
        sa.Column("variant", sa.Text),
        sa.Column("threads", sa.BigInteger),
        sa.Column("batch", sa.BigInteger),
        sa.Column("delegate", sa.Text),
        sa.Column("verdict", sa.String(16)),
        sa.Column("p50_ms", sa.Double),
        sa.Column("p95_ms", sa.Double),
        sa.Column("photo_p50_ms", sa.Double),
        sa.Column("photo_p95_ms", sa.Double),
        sa.Column("photos", sa.BigInteger),
        sa.Column("top1", sa.Double),
        sa.Column("drop_pp", sa.Double),
        sa.Column("agreement", sa.Double),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("ram_bytes", sa.BigInteger),
        sa.PrimaryKeyConstraint("digest", "place", name="pk_edgetl_measurements"),
        sa.ForeignKeyConstraint(["digest"], ["edgetl_documents.digest"], name="fk_edgetl_measurements_digest"),
    )
    for table, columns in (
        ("edgetl_documents", ("kind", "created", "commit_id")),
        ("edgetl_measurements", ("board", "bundle", "variant")),
    ):
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column])
