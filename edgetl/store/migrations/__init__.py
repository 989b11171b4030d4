"""Scripts that bring the tables of a store up to date, for Alembic."""
