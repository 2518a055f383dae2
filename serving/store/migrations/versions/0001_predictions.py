"""Predictions, their heads, idempotency keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ticket_id", sa.String(200)),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("model_name", sa.String(200), nullable=False),
        sa.Column("model_version", sa.String(100), nullable=False),
        sa.Column("bundle_digest", sa.String(64), nullable=False),
        sa.Column("taxonomy_version", sa.String(120), nullable=False),
        sa.Column("policy_version", sa.String(120), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_predictions"),
    )
    op.create_index("ix_predictions_created_at", "predictions", ["created_at"])
    op.create_index("ix_predictions_ticket_id", "predictions", ["ticket_id"])
    op.create_table(
        "prediction_heads",
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("head", sa.String(120), nullable=False),
        sa.Column("label", sa.String(250), nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("reason", sa.String(40)),
        sa.PrimaryKeyConstraint("prediction_id", "head", name="pk_prediction_heads"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_prediction_heads_prediction_id"),
    )
    op.create_index("ix_prediction_heads_head_decision_label", "prediction_heads", ["head", "decision", "label"])
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("body", sa.String(64), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    op.drop_table("idempotency_keys")
    op.drop_table("prediction_heads")
    op.drop_table("predictions")
