"""Opening the database and bringing its schema up to date."""

from __future__ import annotations

import math
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, Pool, QueuePool, create_engine, event, make_url, text

from complaints.errors import JianweiError

# Execution option of a connection that is going to write: until when its caller waits (time.monotonic).
WRITES = "jianwei_writes"
# Milliseconds that is waited for another process's write, and for locks: callers are answered after about 3 s.
BUSY = 3000
# A person's word, a claim: two processes that both write all the time keep each other off for longer than that.
PATIENT = 10_000
# A migration of another process takes longer.
_BUSY_MIGRATING = 60_000
# Who has waited long enough in our own queue waits no longer for others; but a commit may be just under way.
_SHORTEST = 50
_LEFT = "jianwei_left"
# Seconds until a PostgreSQL server that cannot be reached is given up.
_CONNECT = 3
# Any number that nothing else on the same PostgreSQL server is likely to lock.
_MIGRATION_LOCK = 0x6A69616E


def open_engine(url: str, *, migrating: bool = False) -> Engine:
    """An engine for SQLite or PostgreSQL; `migrating` leaves SQLite's foreign keys unchecked and pools nothing.

    Waits for locks are short, unless `migrating`. Raises OSError where SQLite's file cannot be made.
    """
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    pool = NullPool if migrating else QueuePool
    if parsed.get_backend_name() != "sqlite":
        return _open_server(parsed, pool, migrating)
    _make_file(parsed)
    engine, busy = create_engine(parsed, poolclass=pool, hide_parameters=True), _BUSY_MIGRATING if migrating else BUSY

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own transactions begin too late (not at a SELECT, not at a DDL): `begin` below does it.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {busy}")
        _write_ahead(connection, busy)
        # WAL's usual NORMAL may lose the last commits when the power goes; what was answered must not be lost.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'OFF' if migrating else 'ON'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later can fail at once, unwaited: take the lock at the start.
        until = connection.get_execution_options().get(WRITES)
        # In steps, for most wait for nothing and need not be told anew.
        steps = 0 if until is None else math.ceil((until - time.monotonic()) * 1000 / _SHORTEST)
        left = busy if until is None else _SHORTEST * max(1, steps)
        if connection.info.get(_LEFT, busy) != left:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {left}")
            connection.info[_LEFT] = left
        connection.exec_driver_sql("BEGIN" if until is None and not migrating else "BEGIN IMMEDIATE")

    return engine


def _open_server(url: URL, pool: type[Pool], migrating: bool) -> Engine:
    # Other drivers than the usual one call it otherwise.
    told = "connect_timeout" in url.query or not url.get_driver_name().startswith("psycopg")
    patience = {} if told else {"connect_timeout": _CONNECT}
    options = {"poolclass": pool, "hide_parameters": True, "connect_args": patience}
    if migrating:
        return create_engine(url, **options)
    engine = create_engine(url, pool_pre_ping=True, **options)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        # Not by `options` of the connection: a pooler in front of the server may refuse those.
        cursor = connection.cursor()
        cursor.execute(f"SET lock_timeout = {BUSY}")
        cursor.close()
        connection.commit()

    return engine


def _make_file(url: URL) -> None:
    """Make SQLite's folder and file where they are not there: what people write is read by the service alone."""
    if url.database and url.database != ":memory:" and not url.database.startswith("file:"):
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)  # its companions, -wal and -shm, get the same mode from SQLite


def _write_ahead(connection: sqlite3.Connection, busy: int) -> None:
    """Switch to WAL; while another process is doing that, SQLite refuses at once instead of waiting."""
    deadline = time.monotonic() + busy / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class NewerStore(JianweiError):
    """The database has a schema that this release does not know."""


def migrate(url: str) -> None:
    """Bring the schema at `url` to the newest version; of several processes starting at once, one does it.

    Raises NewerStore, and as `open_engine`.
    """
    from alembic import command  # a tenth of a second, needed once
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    engine = open_engine(url, migrating=True)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:  # it finds no migration of that name
            raise NewerStore(str(error)) from None
