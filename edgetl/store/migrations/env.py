"""Run by Alembic: migrate over the connection that edgetl.store.engine gives, in its transaction."""

from __future__ import annotations

from alembic import context

from edgetl.store.tables import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
