"""`Store`: answers written before they are given, and found again."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from complaints.errors import Conflict, JianweiError, NotFound
from complaints.records import HeadPrediction
from serving.store.engine import WRITES, migrate, open_engine
from serving.store.tables import idempotency_keys, prediction_heads, predictions

# How long a repeated Idempotency-Key gets the stored answer.
KEY_LIFE = timedelta(hours=24)
# Crockford's base 32: its digits sort as the numbers do, and none is mistaken for another.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(f"pred_[{_DIGITS}]{{26}}")


class StoreError(JianweiError):
    """The database cannot be reached, or did not take what was to be stored."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One prediction as it is kept; `request` and `response` are JSON text."""

    id: str
    created_at: datetime
    ticket_id: str | None
    request: str
    response: str
    model_name: str
    model_version: str
    bundle_digest: str
    taxonomy_version: str
    policy_version: str
    request_id: str
    heads: dict[str, HeadPrediction]


@dataclass(frozen=True, slots=True)
class Key:
    """An Idempotency-Key: sha256 of caller and key together, and sha256 of what was sent with it; hex."""

    key: str
    body: str


def new_id(now: datetime) -> str:
    """`pred_` and 26 characters: milliseconds since 1970, then 80 random bits, so that ids sort by time."""
    number = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    return "pred_" + "".join(_DIGITS[(number >> shift) & 31] for shift in range(125, -5, -5))


class Store:
    """The database at a SQLAlchemy URL, brought to the newest schema on opening; safe from several threads."""

    def __init__(self, url: str) -> None:
        """`url` as SQLAlchemy writes it, postgresql:// included. Raises StoreError where it cannot be opened."""
        with _refused():
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

    def save(self, rows: Sequence[Stored], answer: str, key: Key | None = None) -> str:
        """Write predictions in one transaction and return what to answer once it is on disk.

        That is `answer`, unless the same key was used at the same time: then the answer that was stored first,
        and nothing is written. Raises Conflict where the key came with another body, StoreError where the
        database failed; then nothing was written.
        """
        try:
            with self._write() as connection:
                if key is not None:
                    _claim(connection, key, answer)
                for row in rows:
                    _insert(connection, row)
        except _KeyTaken:
            assert key is not None  # noqa: S101  only a key can be taken
            stored = self.recall(key)
            return answer if stored is None else stored
        return answer

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

    def response(self, prediction_id: str) -> str:
        """A prediction as it was answered, JSON text; raises NotFound."""
        # Not every string can be asked for: PostgreSQL refuses U+0000.
        if _ID.fullmatch(prediction_id):
            with self._read() as connection:
                query = select(predictions.c.response).where(predictions.c.id == prediction_id)
                found = connection.execute(query).scalar_one_or_none()
            if found is not None:
                return str(found)
        raise NotFound("there is no prediction of this id")

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _refused(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with _refused(), self._engine.connect().execution_options(**{WRITES: True}) as connection:
            if self._writing is None:
                with connection.begin():
                    yield connection
            else:
                with self._writing, connection.begin():
                    yield connection


class _KeyTaken(Exception):
    """Somebody else stored this key while we were predicting."""


def _claim(connection: Connection, key: Key, answer: str) -> None:
    table = idempotency_keys
    connection.execute(delete(table).where(table.c.created_at < _oldest()))
    try:
        values = {"key": key.key, "body": key.body, "answer": answer, "created_at": datetime.now(UTC)}
        connection.execute(insert(table), values)
    except IntegrityError as error:
        raise _KeyTaken from error


def _insert(connection: Connection, row: Stored) -> None:
    # Values beside the statement, not in it: SQLAlchemy compiles it once.
    connection.execute(insert(predictions), {column.name: getattr(row, column.name) for column in predictions.columns})
    heads = [
        {
            "prediction_id": row.id,
            "head": name,
            "label": one.label,
            "decision": one.decision,
            "confidence": one.confidence,
            "reason": one.reason,
        }
        for name, one in row.heads.items()
    ]
    connection.execute(insert(prediction_heads), heads)


def _oldest() -> datetime:
    return datetime.now(UTC) - KEY_LIFE


@contextmanager
def _refused() -> Iterator[None]:
    """SQLAlchemy's errors as StoreError, without their text: it quotes the values, complaints among them."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        raise StoreError(f"the database failed ({cause})") from None
