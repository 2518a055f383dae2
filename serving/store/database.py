"""One database: its connections, its one writer at a time on SQLite, and its errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from complaints.errors import JianweiError
from serving.store.engine import WRITES, migrate, open_engine
from serving.store.tables import predictions


class StoreError(JianweiError):
    """The database cannot be reached, or did not take what was to be stored."""


class Database:
    """The database at a SQLAlchemy URL, brought to the newest schema on opening; safe from several threads."""

    def __init__(self, url: str) -> None:
        """`url` as SQLAlchemy writes it, postgresql:// included. Raises StoreError where it cannot be opened."""
        with refused():
            migrate(url)
            self._engine = open_engine(url)
        # SQLite has one writer at a time, and its own waiting is a sleep: queue here instead.
        self._writing = threading.Lock() if self._engine.dialect.name == "sqlite" else None

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def ping(self) -> None:
        """Raise StoreError unless the database answers."""
        with self._read() as connection:
            connection.execute(select(predictions.c.id).limit(1))

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with refused(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with refused(), self._engine.connect().execution_options(**{WRITES: True}) as connection:
            if self._writing is None:
                with connection.begin():
                    yield connection
            else:
                with self._writing, connection.begin():
                    yield connection


@contextmanager
def refused() -> Iterator[None]:
    """SQLAlchemy's errors as StoreError, without their text: it quotes the values, complaints among them."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        raise StoreError(f"the database failed ({cause})") from None
