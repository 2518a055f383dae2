"""Assessments, issues and their alerts, observations, verdicts, policies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "issues",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("category", sa.String(250), nullable=False),
        sa.Column("product", sa.String(200), nullable=False),
        sa.Column("space", sa.String(64), nullable=False),
        sa.Column("centre", sa.LargeBinary, nullable=False),
        sa.Column("members", sa.Integer, nullable=False),
        sa.Column("first_at", moment, nullable=False),
        sa.Column("last_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_issues"),
    )
    op.create_index("ix_issues_category_product_space_last_at", "issues", ["category", "product", "space", "last_at"])
    op.create_index("ix_issues_space_first_at", "issues", ["space", "first_at"])
    op.create_table(
        "issue_hours",
        sa.Column("issue_id", sa.String(40), nullable=False),
        sa.Column("hour", sa.Integer, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("issue_id", "hour", name="pk_issue_hours"),
        sa.ForeignKeyConstraint(["issue_id"], ["issues.id"], name="fk_issue_hours_issue_id"),
    )
    op.create_table(
        "policies",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(300), nullable=False),
        sa.Column("version", sa.String(120), nullable=False),
        sa.Column("identity", sa.String(120), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("first_used_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_policies"),
    )
    op.create_table(
        "assessments",
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("stored_at", moment, nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("ticket_id", sa.String(200)),
        sa.Column("counted", sa.Boolean, nullable=False),
        sa.Column("customer", sa.String(64)),
        sa.Column("category", sa.String(250), nullable=False),
        sa.Column("label", sa.String(250), nullable=False),
        sa.Column("product", sa.String(200), nullable=False),
        sa.Column("business_line", sa.String(200)),
        sa.Column("issue_id", sa.String(40), nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("level", sa.String(20), nullable=False),
        sa.Column("severity", sa.String(20), nullable=False),
        sa.Column("department", sa.String(250)),
        sa.Column("respond_by", moment),
        sa.Column("resolve_by", moment),
        sa.Column("policy", sa.String(120), nullable=False),
        sa.Column("arm", sa.String(20), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name="pk_assessments"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_assessments_prediction_id"),
        sa.ForeignKeyConstraint(["issue_id"], ["issues.id"], name="fk_assessments_issue_id"),
    )
    op.create_index("ix_assessments_stored_at_prediction_id", "assessments", ["stored_at", "prediction_id"])
    op.create_index("ix_assessments_at", "assessments", ["at"])
    op.create_index("ix_assessments_customer_at", "assessments", ["customer", "at"])
    op.create_index("ix_assessments_issue_id_at", "assessments", ["issue_id", "at"])
    op.create_index("ix_assessments_ticket_id", "assessments", ["ticket_id"])
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("issue_id", sa.String(40), nullable=False),
        sa.Column("category", sa.String(250), nullable=False),
        sa.Column("product", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.Column("opened_at", moment, nullable=False),
        sa.Column("last_at", moment, nullable=False),
        sa.Column("members", sa.Integer, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("expected", sa.Float),
        sa.Column("growth", sa.Float),
        sa.Column("p", sa.Float),
        sa.Column("policy", sa.String(120), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("decided_by", sa.String(200)),
        sa.Column("decided_at", moment),
        sa.Column("note", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.ForeignKeyConstraint(["issue_id"], ["issues.id"], name="fk_alerts_issue_id"),
    )
    op.create_index("ix_alerts_issue_id_last_at", "alerts", ["issue_id", "last_at"])
    op.create_index("ix_alerts_opened_at", "alerts", ["opened_at"])
    op.create_table(
        "observations",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("reads", sa.BigInteger),
        sa.Column("reposts", sa.BigInteger),
        sa.Column("comments", sa.BigInteger),
        sa.Column("likes", sa.BigInteger),
        sa.Column("actor", sa.String(200)),
        sa.Column("received_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_observations"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_observations_prediction_id"),
    )
    op.create_index("ix_observations_prediction_id", "observations", ["prediction_id"])
    op.create_table(
        "verdicts",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("suggested", sa.String(20), nullable=False),
        sa.Column("level", sa.String(20), nullable=False),
        sa.Column("policy", sa.String(120), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("given_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_verdicts_prediction_id"),
    )
    op.create_index("ix_verdicts_prediction_id", "verdicts", ["prediction_id"])
    op.create_table(
        "salts",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("value", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_salts"),
    )


def downgrade() -> None:
    for table in ("salts", "verdicts", "observations", "alerts", "assessments", "policies", "issue_hours", "issues"):
        op.drop_table(table)
