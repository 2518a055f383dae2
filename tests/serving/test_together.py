"""Writes that come at the same time share a commit; none of them can spoil another."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, insert, select
from sqlalchemy.exc import IntegrityError

from serving.store.database import Database
from serving.store.engine import open_engine
from serving.store.queries import Store, StoreError
from serving.store.tables import salts

JOBS = 8


def writes(name: str) -> Callable[[Connection], str]:
    def job(connection: Connection) -> str:
        connection.execute(insert(salts), {"name": name, "value": "v"})
        return name

    return job


def stored(store: Database) -> set[str]:
    with store._read() as connection:
        return set(connection.execute(select(salts.c.name)).scalars())


def at_once(store: Store, jobs: list[Callable[[Connection], str]]) -> list[str | BaseException]:
    """Run jobs from as many threads, all of which wait while somebody else writes."""

    def run(job: Callable[[Connection], str]) -> str | BaseException:
        try:
            return store._together(job)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(jobs)) as threads:
        with store._write():
            futures = [threads.submit(run, job) for job in jobs]
            if store._writing is not None:
                waited = threading.Event()
                while len(store._jobs) < len(jobs) and not waited.wait(0.01):
                    pass
        return [future.result(timeout=20) for future in futures]


def test_all_are_written_and_get_their_own_answer(url: str) -> None:
    store = Store(url)
    names = [f"n{i}" for i in range(JOBS)]
    assert at_once(store, [writes(name) for name in names]) == names
    assert stored(store) == set(names)
    store.close()


def test_on_sqlite_they_share_one_commit(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('one')}/store.db")
    commits = []
    event.listen(store._engine, "commit", commits.append)
    at_once(store, [writes(f"n{i}") for i in range(JOBS)])
    assert len(commits) == 2  # the one that they waited for, and theirs
    store.close()


def test_one_that_fails_takes_no_other_along(url: str) -> None:
    store = Store(url)

    def breaks(connection: Connection) -> str:
        writes("half")(connection)
        raise ValueError("no")

    def twice(connection: Connection) -> str:
        writes("same")(connection)
        return writes("same")(connection)

    answers = at_once(store, [writes("a"), breaks, writes("b"), twice, writes("c")])
    assert [answers[0], answers[2], answers[4]] == ["a", "b", "c"]
    assert isinstance(answers[1], ValueError)
    assert isinstance(answers[3], StoreError)
    assert stored(store) == {"a", "b", "c"}
    store.close()


def test_a_job_sees_what_its_neighbours_wrote(url: str) -> None:
    store = Store(url)

    def joins(connection: Connection) -> str:
        if connection.execute(select(salts.c.name).where(salts.c.name == "x")).first() is None:
            try:
                with connection.begin_nested():
                    return writes("x")(connection)
            except IntegrityError:  # PostgreSQL: another transaction was first
                pass
        return "known"

    assert sorted(map(str, at_once(store, [joins] * 3))) == ["known", "known", "x"]
    store.close()


def test_nothing_is_answered_that_is_not_on_disk(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('full')}/store.db")

    def full(connection: Connection) -> None:
        raise OSError("disk full")

    event.listen(store._engine, "commit", full)
    assert all(isinstance(one, OSError) for one in at_once_without_writer(store))
    event.remove(store._engine, "commit", full)
    assert stored(store) == set()
    assert store._together(writes("later")) == "later"
    store.close()


def at_once_without_writer(store: Store) -> list[BaseException]:
    found = []
    for i in range(2):
        with pytest.raises(OSError, match="disk full") as raised:
            store._together(writes(f"n{i}"))
        found.append(raised.value)
    return found


def test_a_locked_database_is_said_to_all_who_wait(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    other = sqlite3.connect(tmp_path / "store.db")
    other.execute("BEGIN IMMEDIATE")  # another process in the middle of something
    with ThreadPoolExecutor(JOBS) as threads:
        futures = [threads.submit(store._together, writes(f"n{i}")) for i in range(JOBS)]
        futures.append(threads.submit(store.salt))
        # Together they wait no longer than one alone: were each to try for itself, it would be a minute.
        assert all(isinstance(future.exception(timeout=15), StoreError) for future in futures)
    other.rollback()
    assert stored(store) == set()
    assert store._together(writes("later")) == "later"
    store.close()
    other.close()


def test_a_lock_on_postgresql_is_not_waited_for_for_ever(empty_postgres: str) -> None:
    store, other = Store(empty_postgres), open_engine(empty_postgres)
    with other.begin() as connection, ThreadPoolExecutor(1) as threads:
        connection.exec_driver_sql("LOCK TABLE salts")
        waits = threads.submit(store._together, writes("n"))
        assert isinstance(waits.exception(timeout=15), StoreError)
    assert store._together(writes("later")) == "later"
    other.dispose()
    store.close()
