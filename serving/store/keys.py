"""Idempotency keys: a repeated request gets the stored answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from complaints.errors import Conflict
from serving.store.database import Database
from serving.store.tables import idempotency_keys

# How long a repeated Idempotency-Key gets the stored answer.
KEY_LIFE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Key:
    """An Idempotency-Key: sha256 of caller and key together, and sha256 of what was sent with it; hex."""

    key: str
    body: str


class KeyTaken(Exception):
    """Somebody else stored this key while we were working."""


class Keys(Database):
    """Answers under keys."""

    def recall(self, key: Key) -> str | None:
        """The answer stored under a key in the last 24 hours; raises Conflict where the body was another."""
        table = idempotency_keys
        query = select(table.c.body, table.c.answer).where(table.c.key == key.key, table.c.created_at >= _oldest())
        with self._read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        if row.body != key.body:
            raise Conflict("this Idempotency-Key was used with another body: use a new key for a new request")
        return str(row.answer)

    def once(self, key: Key | None, act: Callable[[], object], tell: Callable[[], str]) -> str:
        """`act`, and `tell` what came of it; what was done under this key before is told as it was then.

        `act` claims the key in its transaction, if there is one. Raises what the two raise, and Conflict.
        """
        if key is None:
            act()
            return tell()
        kept = self.recall(key)
        if kept is None:
            try:
                act()
            except KeyTaken:  # by the same request, at the same time
                kept = self.recall(key)
        if not kept:  # done, but not told, or not to the end
            kept = tell()
            with self._write() as connection:
                set_answer(connection, key, kept)
        return kept


def claim_key(connection: Connection, key: Key, answer: str) -> None:
    """Store an answer under a key, in the transaction that makes it true; raises KeyTaken."""
    table = idempotency_keys
    connection.execute(delete(table).where(table.c.created_at < _oldest()))
    try:
        values = {"key": key.key, "body": key.body, "answer": answer, "created_at": datetime.now(UTC)}
        connection.execute(insert(table), values)
    except IntegrityError as error:
        raise KeyTaken from error


def _oldest() -> datetime:
    return datetime.now(UTC) - KEY_LIFE


def set_answer(connection: Connection, key: Key, answer: str) -> None:
    """The answer under a key that this transaction has claimed."""
    connection.execute(update(idempotency_keys).where(idempotency_keys.c.key == key.key).values(answer=answer))
