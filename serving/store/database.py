"""One database: its connections, its one writer at a time on SQLite, and its errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from complaints.errors import JianweiError
from serving.store.engine import BUSY, PATIENT, WRITES, NewerStore, migrate, open_engine
from serving.store.tables import predictions

Result = TypeVar("Result")


class StoreError(JianweiError):
    """The database cannot be reached, or did not take what was to be stored."""


class Database:
    """The database at a SQLAlchemy URL, brought to the newest schema on opening; safe from several threads."""

    def __init__(self, url: str) -> None:
        """`url` as SQLAlchemy writes it, postgresql:// included. Raises StoreError where it cannot be opened."""
        with _opening(url):
            migrate(url)
            self._engine = open_engine(url)
        # SQLite has one writer at a time, and its own waiting is a sleep: queue here instead.
        self._writing = threading.Lock() if self._engine.dialect.name == "sqlite" else None
        self._jobs: list[_Job] = []
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
        until = time.monotonic() + PATIENT / 1000
        with refused(), self._engine.connect().execution_options(**{WRITES: until}) as connection:
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
        Raises what the job raises, and StoreError, soon, where another process keeps the database locked.
        """
        if self._writing is None:
            with self._write() as connection:
                return job(connection)
        mine = _Job(job, Future(), time.monotonic() + BUSY / 1000)
        with self._listing:
            self._jobs.append(mine)
        if self._writing.acquire(timeout=BUSY / 1000):
            try:
                if not mine.future.done():  # else whoever wrote before took this one along
                    with self._listing:
                        jobs, self._jobs = self._jobs, []
                    self._run(jobs)
            finally:
                self._writing.release()
        else:
            with self._listing:
                if mine in self._jobs:  # else somebody has just taken it along
                    self._jobs.remove(mine)
                    raise StoreError("the database is locked")
        return mine.future.result()  # type: ignore[no-any-return]

    def _run(self, jobs: list[_Job]) -> None:
        """Run jobs in one transaction, or, where one of them fails, each in its own; every future gets its end.

        Where it is the database that fails, all of them do: to try again would only make them wait again.
        """
        groups, until = [jobs], min(one.until for one in jobs)
        while groups:
            group, *groups = groups
            running = False
            try:
                with refused(), self._engine.connect().execution_options(**{WRITES: until}) as connection:
                    with connection.begin():
                        running = True
                        results = [one.work(connection) for one in group]
                        running = False
                    for one, result in zip(group, results, strict=True):
                        one.future.set_result(result)
            except BaseException as error:
                if running and len(group) > 1:
                    groups = [[one] for one in group]
                    continue
                for one in group if running else [*group, *(one for rest in groups for one in rest)]:
                    if not one.future.done():
                        one.future.set_exception(error)
                if not running:
                    return


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be written, where its end goes, and until when its caller waits (time.monotonic)."""

    work: Callable[[Connection], Any]
    future: Future[Any]
    until: float


@contextmanager
def _opening(url: str) -> Iterator[None]:
    """What goes wrong when a database is opened, as a StoreError that says what to do; never the URL's password."""
    unclear = StoreError("that is no database URL: write sqlite:///FOLDER/FILE or postgresql://USER:PASSWORD@HOST/NAME")
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (SQLAlchemyError, ValueError):
        raise unclear from None
    if backend not in ("sqlite", "postgresql", "postgres"):
        raise StoreError(f"the store is kept in SQLite or PostgreSQL, not in {backend}")
    where = parsed.database if backend == "sqlite" else f"{parsed.database} on {parsed.host or 'this machine'}"
    try:
        yield
    except ArgumentError:  # no such driver
        raise unclear from None
    except SQLAlchemyError as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        raise StoreError(f"the database {where} cannot be opened ({cause}): is it there, and may it be read?") from None
    except OSError as error:
        raise StoreError(f"the database {where} cannot be made: {error.strerror}") from None
    except NewerStore:
        raise StoreError(
            f"the database {where} was written by a newer release of jianwei: start that release, or use another one"
        ) from None
    except ImportError as error:
        raise StoreError(
            f"the database needs {error.name or 'its driver'}: pip install -c requirements.lock -e '.[postgres]'"
        ) from None


@contextmanager
def refused() -> Iterator[None]:
    """SQLAlchemy's errors as StoreError, without their text: it quotes the values, complaints among them."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        raise StoreError(f"the database failed ({cause})") from None
