"""Raters whose rows are left out, with who left them out, why, and what came of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_IN_FORCE = sa.text("admitted_at_s IS NULL")


def upgrade() -> None:
    op.create_table(
        "rater_exclusions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("marked_versions", sa.JSON(), nullable=False),
        sa.Column("interrupted_run_id", sa.String(), nullable=True),
        sa.Column("retrain_run_id", sa.String(), nullable=True),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("admitted_at_s", sa.Double(), nullable=True),
        sa.Column("admitted_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_rater_exclusions"),
        sa.ForeignKeyConstraint(
            ["interrupted_run_id"], ["runs.id"], name="fk_rater_exclusions_interrupted_run_id_runs"
        ),
        sa.ForeignKeyConstraint(["retrain_run_id"], ["runs.id"], name="fk_rater_exclusions_retrain_run_id_runs"),
    )
    op.create_index(
        "uq_rater_exclusions_in_force",
        "rater_exclusions",
        ["rater"],
        unique=True,
        sqlite_where=_IN_FORCE,
        postgresql_where=_IN_FORCE,
    )


def downgrade() -> None:
    op.drop_table("rater_exclusions")
