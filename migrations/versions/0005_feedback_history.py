"""What raters said before they changed their feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feedback_history",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("feedback_id", sa.Integer(), nullable=False),
        sa.Column("rater_kind", sa.String(32), nullable=False),
        sa.Column("rating", sa.String(32), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("comment", sa.String(), nullable=True),
        sa.Column("correction", sa.String(), nullable=True),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("given_at_s", sa.Double(), nullable=False),
        sa.Column("replaced_at_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_feedback_history"),
        sa.ForeignKeyConstraint(
            ["feedback_id"], ["feedback.id"], name="fk_feedback_history_feedback_id_feedback", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_feedback_history_feedback_id", "feedback_history", ["feedback_id"])


def downgrade() -> None:
    op.drop_table("feedback_history")
