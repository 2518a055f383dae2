"""The tables, as the newest migration leaves them.

JSON is kept as text, exactly as it was answered: a JSON column would reorder keys, and PostgreSQL's refuses
the character U+0000, which in JSON text is the harmless escape `\\u0000`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
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

# Near-identical complaints of one category and product; their mean vector, and the space that it is of.
issues = Table(
    "issues",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("category", String(250), nullable=False),
    Column("product", String(200), nullable=False),
    Column("space", String(64), nullable=False),
    Column("centre", LargeBinary, nullable=False),
    Column("members", Integer, nullable=False),
    Column("first_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
    Column("received_at", Moment),  # when the store got the first of them, whatever time that has of its own
    Index(None, "category", "product", "space", "last_at"),
    Index(None, "space", "received_at"),
)

issue_hours = Table(
    "issue_hours",
    metadata,
    Column("issue_id", ForeignKey("issues.id"), primary_key=True),
    Column("hour", Integer, primary_key=True),  # since 1970
    Column("count", Integer, nullable=False),
)

# Every policy that gave an answer, as it was written: an answer can be computed again.
policies = Table(
    "policies",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", String(300), nullable=False),
    Column("version", String(120), nullable=False),
    Column("identity", String(120), nullable=False),  # the version, with a mark where two files share it
    Column("text", Text, nullable=False),
    Column("first_used_at", Moment, nullable=False),
)

# What a risk was assessed from, beside its prediction, and what came of it.
assessments = Table(
    "assessments",
    metadata,
    Column("prediction_id", ForeignKey("predictions.id"), primary_key=True),
    Column("stored_at", Moment, nullable=False),  # in this order bursts were found
    Column("at", Moment, nullable=False, index=True),  # the complaint's own time
    Column("ticket_id", String(200), index=True),
    Column("counted", Boolean, nullable=False),  # false for a ticket that came before
    Column("customer", String(64)),  # keyed hash
    Column("category", String(250), nullable=False),
    Column("label", String(250), nullable=False),
    Column("product", String(200), nullable=False),
    Column("business_line", String(200)),
    Column("issue_id", ForeignKey("issues.id"), nullable=False),
    Column("vector", LargeBinary, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("context", Text, nullable=False),
    Column("level", String(20), nullable=False),
    Column("severity", String(20), nullable=False),
    Column("department", String(250)),
    Column("respond_by", Moment),
    Column("resolve_by", Moment),
    Column("policy", String(120), nullable=False),
    Column("arm", String(20), nullable=False),
    Column("caller", String(16)),  # of the hash of the key that it came with, to tell callers' ticket numbers apart
    Index(None, "stored_at", "prediction_id"),
    Index(None, "customer", "at"),
    Index(None, "issue_id", "counted", "at"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("issue_id", ForeignKey("issues.id"), nullable=False),
    Column("category", String(250), nullable=False),
    Column("product", String(200), nullable=False),
    Column("reason", String(20), nullable=False),
    Column("since", Moment, nullable=False),
    Column("opened_at", Moment, nullable=False, index=True),
    Column("last_at", Moment, nullable=False),
    Column("members", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("expected", Float),
    Column("growth", Float),
    Column("p", Float),
    Column("policy", String(120), nullable=False),
    Column("status", String(20), nullable=False),
    Column("decided_by", String(200)),
    Column("decided_at", Moment),
    Column("note", Text),
    Index(None, "issue_id", "last_at"),
)

observations = Table(
    "observations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("prediction_id", ForeignKey("predictions.id"), nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("reads", BigInteger),
    Column("reposts", BigInteger),
    Column("comments", BigInteger),
    Column("likes", BigInteger),
    Column("actor", String(200)),
    Column("received_at", Moment, nullable=False),
)

# A person's word on a suggested level; the prediction stays as it was.
verdicts = Table(
    "verdicts",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("prediction_id", ForeignKey("predictions.id"), nullable=False, index=True),
    Column("suggested", String(20), nullable=False),
    Column("level", String(20), nullable=False),
    Column("policy", String(120), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("note", Text),
    Column("given_at", Moment, nullable=False),
    Column("decision_id", ForeignKey("review_decisions.id"), index=True),  # where it was given with one
    Column("withdrawn_at", Moment),
)

# Keys of hashes, made once a store.
salts = Table(
    "salts", metadata, Column("name", String(40), primary_key=True), Column("value", String(64), nullable=False)
)
