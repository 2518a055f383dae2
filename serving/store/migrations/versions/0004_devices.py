"""Browsers that people signed in from; a person's word on a level, given with a decision and taken back with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "devices",
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("user", sa.String(80), nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", moment),
        sa.PrimaryKeyConstraint("token", name="pk_devices"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_devices_user"),
    )
    op.create_index("ix_devices_seen_at", "devices", ["seen_at"])
    op.create_index("ix_devices_user", "devices", ["user"])
    with op.batch_alter_table("verdicts") as table:
        table.add_column(sa.Column("decision_id", sa.String(40)))
        table.add_column(sa.Column("withdrawn_at", moment))
        table.create_foreign_key("fk_verdicts_decision_id", "review_decisions", ["decision_id"], ["id"])
        table.create_index("ix_verdicts_decision_id", ["decision_id"])


def downgrade() -> None:
    with op.batch_alter_table("verdicts") as table:
        table.drop_index("ix_verdicts_decision_id")
        table.drop_constraint("fk_verdicts_decision_id", type_="foreignkey")
        table.drop_column("withdrawn_at")
        table.drop_column("decision_id")
    op.drop_table("devices")
