"""One database: its connections, its one writer at a time on SQLite, and its errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from complaints.errors import JianweiError
from serving.store.engine import WRITES, migrate, open_engine
from serving.store.tables import predictions

Result = TypeVar("Result")


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
        self._jobs: list[tuple[Callable[[Connection], Any], Future[Any]]] = []
        self._listing = threading.Lock()

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

    def _together(self, job: Callable[[Connection], Result]) -> Result:
        """Run a job that writes, and return when it is on disk; where one raises, nothing that it did is written.

        On SQLite, jobs that come while another is being written share the next transaction: a commit waits for the
        disk, which takes as long for many as for one. A job may be run a second time, after what it did was undone.
        """
        if self._writing is None:
            with self._write() as connection:
                return job(connection)
        mine: Future[Result] = Future()
        with self._listing:
            self._jobs.append((job, mine))
        with self._writing:
            if not mine.done():  # else whoever wrote before took this one along
                with self._listing:
                    jobs, self._jobs = self._jobs, []
                self._run(jobs)
        return mine.result()

    def _run(self, jobs: list[tuple[Callable[[Connection], Any], Future[Any]]]) -> None:
        """Run jobs in one transaction, or, where that fails, each in its own; every future gets its end."""
        try:
            with refused(), self._engine.connect().execution_options(**{WRITES: True}) as connection:
                with connection.begin():
                    results = [job(connection) for job, _ in jobs]
                for (_, future), result in zip(jobs, results, strict=True):
                    future.set_result(result)
        except BaseException as error:
            undone = [one for one in jobs if not one[1].done()]
            if len(undone) == 1:
                undone[0][1].set_exception(error)
            else:
                for one in undone:
                    self._run([one])


@contextmanager
def refused() -> Iterator[None]:
    """SQLAlchemy's errors as StoreError, without their text: it quotes the values, complaints among them."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        raise StoreError(f"the database failed ({cause})") from None
