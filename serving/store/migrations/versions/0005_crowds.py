"""An index by which the complaints of an issue are counted without reading them, however many there are."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_assessments_issue_id_counted_at", "assessments", ["issue_id", "counted", "at"])
    op.drop_index("ix_assessments_issue_id_at", "assessments")


def downgrade() -> None:
    op.create_index("ix_assessments_issue_id_at", "assessments", ["issue_id", "at"])
    op.drop_index("ix_assessments_issue_id_counted_at", "assessments")
