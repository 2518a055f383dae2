"""Run by Alembic, on the connection and in the transaction that `serving.store.engine.migrate` opened.

A new migration: `alembic.command.revision` with this folder as script_location, or copy the last one by hand.
"""

from __future__ import annotations

from alembic import context

from serving.store import review_tables  # noqa: F401  its tables are in the metadata once it was read
from serving.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a table: Alembic copies it
)
with context.begin_transaction():
    context.run_migrations()
