"""The tables, as the newest migration leaves them.

JSON is kept as text, exactly as it was answered: a JSON column would reorder keys, and PostgreSQL's refuses
the character U+0000, which in JSON text is the harmless escape `\\u0000`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Column, DateTime, Dialect, Float, ForeignKey, Index, MetaData, String, Table, Text
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A point in time: UTC in the database, aware in Python (SQLite forgets time zones)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Any aware time as UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """What SQLite returns without its zone is UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(40), primary_key=True),  # sorts by time
    Column("created_at", Moment, nullable=False, index=True),
    Column("ticket_id", String(200), index=True),
    Column("request", Text, nullable=False),  # raw text included
    Column("response", Text, nullable=False),
    Column("model_name", String(200), nullable=False),
    Column("model_version", String(100), nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("taxonomy_version", String(120), nullable=False),
    Column("policy_version", String(120), nullable=False),
    Column("request_id", String(128), nullable=False),
)

prediction_heads = Table(
    "prediction_heads",
    metadata,
    Column("prediction_id", ForeignKey("predictions.id"), primary_key=True),
    Column("head", String(120), primary_key=True),
    Column("label", String(250), nullable=False),
    Column("decision", String(20), nullable=False),
    Column("confidence", Float, nullable=False),
    Column("reason", String(40)),
    Index(None, "head", "decision", "label"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String(64), primary_key=True),  # sha256 of the caller's API key and the key they sent
    Column("body", String(64), nullable=False),  # sha256
    Column("answer", Text, nullable=False),
    Column("created_at", Moment, nullable=False, index=True),
)
