"""Opening the database and bringing its schema up to date."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event, make_url, text

# Execution option of a connection that is going to write.
WRITES = "jianwei_writes"
# Milliseconds that SQLite waits for another process's write.
BUSY = 10_000
# Any number that nothing else on the same PostgreSQL server is likely to lock.
_MIGRATION_LOCK = 0x6A69616E


def open_engine(url: str, *, migrating: bool = False) -> Engine:
    """An engine for SQLite or PostgreSQL; `migrating` leaves SQLite's foreign keys unchecked and pools nothing."""
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    pool = NullPool if migrating else QueuePool
    if parsed.get_backend_name() != "sqlite":
        return create_engine(
            parsed, poolclass=pool, hide_parameters=True, **({} if migrating else {"pool_pre_ping": True})
        )
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, poolclass=pool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own transactions begin too late (not at a SELECT, not at a DDL): `begin` below does it.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY}")
        _write_ahead(connection)
        # WAL's usual NORMAL may lose the last commits when the power goes; what was answered must not be lost.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'OFF' if migrating else 'ON'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later can fail at once, unwaited: take the lock at the start.
        writes = migrating or connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL; while another process is doing that, SQLite refuses at once instead of waiting."""
    deadline = time.monotonic() + BUSY / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def migrate(url: str) -> None:
    """Bring the schema at `url` to the newest version; of several processes starting at once, one does it."""
    from alembic import command  # a tenth of a second, needed once
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    engine = open_engine(url, migrating=True)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
