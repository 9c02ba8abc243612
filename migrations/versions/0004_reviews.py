"""Reviews by experts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("completion_id", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("rewrite", sa.String(), nullable=True),
        sa.Column("comment", sa.String(), nullable=True),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("updated_at_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.UniqueConstraint("completion_id", "reviewer", name="uq_reviews_completion_id_reviewer"),
        sa.ForeignKeyConstraint(
            ["completion_id"], ["completions.id"], name="fk_reviews_completion_id_completions", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["reviewer"], ["api_keys.id"], name="fk_reviews_reviewer_api_keys"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("reviews")
