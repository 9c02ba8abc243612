"""The schedule, which an admin sets while everything runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schedule",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("interval_s", sa.Double(), nullable=False),
        sa.Column("min_ratings", sa.Integer(), nullable=False),
        sa.Column("mode", sa.String(32), nullable=False),
        sa.Column("updated_at_s", sa.Double(), nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_schedule"),
    )


def downgrade() -> None:
    op.drop_table("schedule")
