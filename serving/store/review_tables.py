"""The tables of the review loop: the queue, people's words, people themselves, and who did what.

Nothing said by a person is ever deleted: what is taken back gets `withdrawn_at`.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from serving.store.tables import Moment, metadata

# One row a prediction that waits, or waited, for a person.
reviews = Table(
    "reviews",
    metadata,
    Column("prediction_id", ForeignKey("predictions.id"), primary_key=True),
    Column("entered_at", Moment, nullable=False, index=True),
    Column("channel", String(200)),
    Column("cost", Float, nullable=False),  # expected, of acting on it unseen
    Column("priority", Float, nullable=False),  # the cost, or the place that was drawn for an audited case
    Column("audit", Boolean, nullable=False),  # drawn at random; never shown to who reviews
    Column("state", String(10), nullable=False),  # waiting, second (for another person, blind), done
    Column("lease_actor", String(200)),
    Column("lease_until", Moment),
    Column("outcome", String(20)),  # accepted, corrected: of the first review
    Column("done_by", String(200)),
    Column("done_at", Moment, index=True),
    Column("second_by", String(200)),
    Column("second_at", Moment),
    Index(None, "state", "priority"),
    Index(None, "state", "done_at"),
    Index(None, "lease_actor"),
)

# What a person decided of a whole case.
review_decisions = Table(
    "review_decisions",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("prediction_id", ForeignKey("predictions.id"), nullable=False, index=True),
    Column("actor", String(200), nullable=False),
    Column("outcome", String(20), nullable=False),  # accepted, corrected, skipped
    Column("second", Boolean, nullable=False),
    Column("at", Moment, nullable=False, index=True),
    Column("withdrawn_at", Moment),
    Index(None, "actor", "at"),
)

# A word on one head of one prediction; the prediction stays as it was.
corrections = Table(
    "corrections",
    metadata,
    Column("id", String(40), primary_key=True),  # sorts by time
    Column("prediction_id", ForeignKey("predictions.id"), nullable=False, index=True),
    Column("decision_id", ForeignKey("review_decisions.id"), index=True),
    Column("head", String(120), nullable=False),
    Column("label", String(250), nullable=False),
    Column("predicted", String(250), nullable=False),
    Column("decision", String(20), nullable=False),
    Column("confidence", Float, nullable=False),
    Column("kind", String(10), nullable=False),  # explicit, implicit
    Column("audit", Boolean, nullable=False),
    Column("second", Boolean, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("note", Text),
    Column("given_at", Moment, nullable=False),
    Column("taxonomy_version", String(120), nullable=False),  # which holds the label
    Column("withdrawn_at", Moment),
    Index(None, "given_at", "id"),
)

users = Table(
    "users",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("role", String(20), nullable=False),
    Column("password", String(200), nullable=False),  # argon2
    Column("created_at", Moment, nullable=False),
    Column("disabled_at", Moment),
    Column("failures", Integer, nullable=False),  # wrong passwords in a row, from browsers that nobody knows
    Column("locked_until", Moment),
)

# Browsers from which a person has signed in: each has its own count of wrong passwords.
devices = Table(
    "devices",
    metadata,
    Column("token", String(64), primary_key=True),  # sha256
    Column("user", ForeignKey("users.name"), nullable=False, index=True),
    Column("seen_at", Moment, nullable=False, index=True),
    Column("failures", Integer, nullable=False),
    Column("locked_until", Moment),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token", String(64), primary_key=True),  # sha256
    Column("user", ForeignKey("users.name"), nullable=False, index=True),
    Column("csrf", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False, index=True),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", String(40), primary_key=True),  # sorts by time
    Column("at", Moment, nullable=False, index=True),
    Column("actor", String(200), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "actor", "at"),
    Index(None, "subject", "at"),
)

# What the challenger would have answered.
shadows = Table(
    "shadows",
    metadata,
    Column("prediction_id", ForeignKey("predictions.id"), primary_key=True),
    Column("model_version", String(100), primary_key=True),
    Column("head", String(120), primary_key=True),
    Column("model_name", String(200), nullable=False),
    Column("label", String(250), nullable=False),
    Column("decision", String(20), nullable=False),
    Column("confidence", Float, nullable=False),
    Column("at", Moment, nullable=False, index=True),
)
