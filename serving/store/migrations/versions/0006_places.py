"""When an issue was received, who sent a complaint, and an index by which finished reviews are passed over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # May be empty: SQLite adds such a column without writing the table anew.
    op.add_column("issues", sa.Column("received_at", sa.DateTime(timezone=True)))
    op.add_column("assessments", sa.Column("caller", sa.String(16)))
    op.execute(
        "UPDATE issues SET received_at ="
        " (SELECT min(assessments.stored_at) FROM assessments WHERE assessments.issue_id = issues.id)"
    )
    op.drop_index("ix_issues_space_first_at", "issues")
    op.create_index("ix_issues_space_received_at", "issues", ["space", "received_at"])
    op.create_index("ix_reviews_state_done_at", "reviews", ["state", "done_at"])


def downgrade() -> None:
    op.drop_index("ix_reviews_state_done_at", "reviews")
    op.drop_index("ix_issues_space_received_at", "issues")
    op.create_index("ix_issues_space_first_at", "issues", ["space", "first_at"])
    op.drop_column("assessments", "caller")
    op.drop_column("issues", "received_at")
