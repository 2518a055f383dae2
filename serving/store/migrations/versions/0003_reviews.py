"""The review loop: queue, decisions, corrections, users, sessions, audit log, shadows, and Chinese search."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "reviews",
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("entered_at", moment, nullable=False),
        sa.Column("channel", sa.String(200)),
        sa.Column("cost", sa.Float, nullable=False),
        sa.Column("priority", sa.Float, nullable=False),
        sa.Column("audit", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("lease_actor", sa.String(200)),
        sa.Column("lease_until", moment),
        sa.Column("outcome", sa.String(20)),
        sa.Column("done_by", sa.String(200)),
        sa.Column("done_at", moment),
        sa.Column("second_by", sa.String(200)),
        sa.Column("second_at", moment),
        sa.PrimaryKeyConstraint("prediction_id", name="pk_reviews"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_reviews_prediction_id"),
    )
    op.create_index("ix_reviews_done_at", "reviews", ["done_at"])
    op.create_index("ix_reviews_entered_at", "reviews", ["entered_at"])
    op.create_index("ix_reviews_lease_actor", "reviews", ["lease_actor"])
    op.create_index("ix_reviews_state_priority", "reviews", ["state", "priority"])
    op.create_table(
        "review_decisions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("second", sa.Boolean, nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("withdrawn_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_review_decisions"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_review_decisions_prediction_id"),
    )
    op.create_index("ix_review_decisions_actor_at", "review_decisions", ["actor", "at"])
    op.create_index("ix_review_decisions_at", "review_decisions", ["at"])
    op.create_index("ix_review_decisions_prediction_id", "review_decisions", ["prediction_id"])
    op.create_table(
        "corrections",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("decision_id", sa.String(40)),
        sa.Column("head", sa.String(120), nullable=False),
        sa.Column("label", sa.String(250), nullable=False),
        sa.Column("predicted", sa.String(250), nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("audit", sa.Boolean, nullable=False),
        sa.Column("second", sa.Boolean, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("given_at", moment, nullable=False),
        sa.Column("taxonomy_version", sa.String(120), nullable=False),
        sa.Column("withdrawn_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_corrections"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_corrections_prediction_id"),
        sa.ForeignKeyConstraint(["decision_id"], ["review_decisions.id"], name="fk_corrections_decision_id"),
    )
    op.create_index("ix_corrections_decision_id", "corrections", ["decision_id"])
    op.create_index("ix_corrections_given_at_id", "corrections", ["given_at", "id"])
    op.create_index("ix_corrections_prediction_id", "corrections", ["prediction_id"])
    op.create_table(
        "users",
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("password", sa.String(200), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("disabled_at", moment),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", moment),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
    op.create_table(
        "sessions",
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("user", sa.String(80), nullable=False),
        sa.Column("csrf", sa.String(64), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("token", name="pk_sessions"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_sessions_user"),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_index("ix_sessions_user", "sessions", ["user"])
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_actor_at", "audit_log", ["actor", "at"])
    op.create_index("ix_audit_log_at", "audit_log", ["at"])
    op.create_index("ix_audit_log_subject_at", "audit_log", ["subject", "at"])
    op.create_table(
        "shadows",
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("model_version", sa.String(100), nullable=False),
        sa.Column("head", sa.String(120), nullable=False),
        sa.Column("model_name", sa.String(200), nullable=False),
        sa.Column("label", sa.String(250), nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", "model_version", "head", name="pk_shadows"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_shadows_prediction_id"),
    )
    op.create_index("ix_shadows_at", "shadows", ["at"])
    # Two-character words as tokens, see serving/store/search.py; each database has its own full-text index.
    if op.get_bind().dialect.name == "postgresql":
        op.create_table(
            "review_words",
            sa.Column("prediction_id", sa.String(40), nullable=False),
            sa.Column("words", sa.Text, nullable=False),
            sa.PrimaryKeyConstraint("prediction_id", name="pk_review_words"),
            sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_review_words_prediction_id"),
        )
        op.execute("CREATE INDEX ix_review_words_words ON review_words USING gin (to_tsvector('simple', words))")
    else:
        op.execute("CREATE VIRTUAL TABLE review_words USING fts5(prediction_id UNINDEXED, words, tokenize='unicode61')")


def downgrade() -> None:
    op.drop_table("review_words")
    for table in ("shadows", "audit_log", "sessions", "users", "corrections", "review_decisions", "reviews"):
        op.drop_table(table)
