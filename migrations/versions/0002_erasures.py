"""Erasures of end users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column("end_user_sha256", sa.String(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("marked_versions", sa.JSON(), nullable=False),
        sa.Column("run_ids", sa.JSON(), nullable=False),
        sa.Column("interrupted_run_id", sa.String(), nullable=True),
        sa.Column("retrain_run_id", sa.String(), nullable=True),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("finished_at_s", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_erasures"),
        sa.ForeignKeyConstraint(["interrupted_run_id"], ["runs.id"], name="fk_erasures_interrupted_run_id_runs"),
        sa.ForeignKeyConstraint(["retrain_run_id"], ["runs.id"], name="fk_erasures_retrain_run_id_runs"),
    )


def downgrade() -> None:
    op.drop_table("erasures")
