"""The tables of the first release."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WORD = sa.String(32)  # a word of a closed set


def upgrade() -> None:
    """Create every table, those first that others refer to."""
    _create_keys_and_conversations()
    _create_examples_and_runs()
    _create_snapshots()
    _create_versions()
    _create_completions()
    _create_evaluations()
    _create_promotions_and_swaps()


def downgrade() -> None:
    """Drop every table, those last that others refer to."""
    for name in (
        *("swaps", "promotions", "evaluations", "feedback", "completions", "versions"),
        *("snapshot_rows", "snapshots", "runs", "examples", "conversations", "api_keys"),
    ):
        op.drop_table(name)


def _column(name: str, column_type: Any, nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, column_type, nullable=nullable, **options)


def _text(*names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [_column(name, sa.String(), nullable) for name in names]


def _seconds(*names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [_column(name, sa.Double(), nullable) for name in names]


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}_{target.partition('.')[0]}"
    return sa.ForeignKeyConstraint([column], [target], name=name)


def _create_keys_and_conversations() -> None:
    op.create_table(
        "api_keys",
        *_text("id", "name", "prefix", "secret_sha256"),
        _column("role", WORD),
        *_seconds("created_at_s"),
        *_seconds("revoked_at_s", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("secret_sha256", name="uq_api_keys_secret_sha256"),
    )
    op.create_table(
        "conversations",
        *_text("key_id", "id"),
        *_text("end_user", nullable=True),
        *_seconds("created_at_s"),
        sa.PrimaryKeyConstraint("key_id", "id", name="pk_conversations"),
        _reference("conversations", "key_id", "api_keys.id"),
    )
    op.create_index("ix_conversations_end_user", "conversations", ["end_user"])


def _create_examples_and_runs() -> None:
    op.create_table(
        "examples",
        _column("id", sa.Integer()),
        *_text("sha256", "context", "response", "source", "source_digest"),
        _column("rating", WORD, nullable=True),
        *_seconds("created_at_s"),
        sa.PrimaryKeyConstraint("id", name="pk_examples"),
        sa.UniqueConstraint("sha256", name="uq_examples_sha256"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "runs",
        *_text("id"),
        _column("status", WORD),
        _column("recipe", sa.JSON()),
        _column("trigger", WORD),
        _column("attempt", sa.Integer()),
        _column("progress", sa.JSON(), nullable=True),
        _column("cancel_requested", sa.Boolean()),
        _column("version_number", sa.Integer(), nullable=True),
        *_text("window_key", "lease_owner", "reason", "snapshot_id", nullable=True),
        *_seconds("created_at_s"),
        *_seconds("lease_until_s", "nudged_at_s", "started_at_s", "finished_at_s", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("window_key", name="uq_runs_window_key"),
    )
    is_active = sa.text("finished_at_s IS NULL")
    op.create_index(
        "uq_runs_one_active",
        "runs",
        [sa.text("(finished_at_s IS NULL)")],
        unique=True,
        sqlite_where=is_active,
        postgresql_where=is_active,
    )


def _create_snapshots() -> None:
    op.create_table(
        "snapshots",
        *_text("id", "run_id", "digest"),
        _column("manifest", sa.JSON()),
        *_seconds("created_at_s"),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sa.UniqueConstraint("run_id", name="uq_snapshots_run_id"),
        _reference("snapshots", "run_id", "runs.id"),
    )
    op.create_table(
        "snapshot_rows",
        *_text("snapshot_id", "row_id"),
        _column("split", WORD),
        _column("kind", WORD),
        _column("example_id", sa.Integer(), nullable=True),
        _column("feedback_id", sa.Integer(), nullable=True),
        *_text("completion_id", nullable=True),
        sa.PrimaryKeyConstraint("snapshot_id", "row_id", name="pk_snapshot_rows"),
        _reference("snapshot_rows", "snapshot_id", "snapshots.id"),
    )
    for name in ("example_id", "feedback_id", "completion_id"):
        op.create_index(f"ix_snapshot_rows_{name}", "snapshot_rows", [name])


def _create_versions() -> None:
    op.create_table(
        "versions",
        _column("number", sa.Integer(), autoincrement=False),
        *_text("run_id", nullable=True),
        *_text("digest", "folder", "base_model"),
        _column("report", sa.JSON(), nullable=True),
        *_seconds("created_at_s"),
        sa.PrimaryKeyConstraint("number", name="pk_versions"),
        sa.UniqueConstraint("run_id", name="uq_versions_run_id"),
        _reference("versions", "run_id", "runs.id"),
    )


def _create_completions() -> None:
    op.create_table(
        "completions",
        *_text("id", "key_id", "conversation_id", "reply", "finish_reason"),
        _column("messages", sa.JSON()),
        _column("version_number", sa.Integer(), nullable=True),
        *_text("digest", nullable=True),
        _column("sampling", sa.JSON()),
        _column("prompt_tokens", sa.Integer()),
        _column("reply_tokens", sa.Integer()),
        _column("is_crisis", sa.Boolean()),
        *_seconds("latency_s", "created_at_s"),
        sa.PrimaryKeyConstraint("id", name="pk_completions"),
        sa.ForeignKeyConstraint(
            ["key_id", "conversation_id"],
            ["conversations.key_id", "conversations.id"],
            name="fk_completions_key_id_conversation_id_conversations",
        ),
        _reference("completions", "version_number", "versions.number"),
    )
    op.create_index("ix_completions_key_id_conversation_id", "completions", ["key_id", "conversation_id"])
    op.create_table(
        "feedback",
        _column("id", sa.Integer()),
        *_text("completion_id", "rater"),
        _column("rater_kind", WORD),
        _column("rating", WORD),
        _column("reasons", sa.JSON()),
        *_text("comment", "correction", nullable=True),
        _column("scores", sa.JSON()),
        _column("times_given", sa.Integer()),
        *_seconds("created_at_s", "updated_at_s"),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
        sa.UniqueConstraint("completion_id", "rater", name="uq_feedback_completion_id_rater"),
        _reference("feedback", "completion_id", "completions.id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_feedback_updated_at_s", "feedback", ["updated_at_s"])


def _create_evaluations() -> None:
    op.create_table(
        "evaluations",
        *_text("id", "run_id", "candidate_digest"),
        _column("production_version", sa.Integer()),
        _column("consultation", sa.Integer()),
        _column("decision", sa.JSON(), nullable=True),
        _column("verdict", WORD, nullable=True),
        *_seconds("created_at_s"),
        *_seconds("finished_at_s", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        sa.UniqueConstraint("run_id", name="uq_evaluations_run_id"),
        sa.UniqueConstraint("consultation", name="uq_evaluations_consultation"),
        _reference("evaluations", "run_id", "runs.id"),
        _reference("evaluations", "production_version", "versions.number"),
    )


def _create_promotions_and_swaps() -> None:
    op.create_table(
        "promotions",
        _column("id", sa.Integer(), autoincrement=False),
        _column("version_number", sa.Integer()),
        _column("previous_version", sa.Integer(), nullable=True),
        _column("kind", WORD),
        *_text("reason", "actor"),
        *_text("run_id", nullable=True),
        *_seconds("created_at_s"),
        sa.PrimaryKeyConstraint("id", name="pk_promotions"),
        _reference("promotions", "version_number", "versions.number"),
        _reference("promotions", "previous_version", "versions.number"),
        _reference("promotions", "run_id", "runs.id"),
    )
    op.create_table(
        "swaps",
        _column("id", sa.Integer()),
        *_text("process"),
        _column("version_number", sa.Integer()),
        _column("succeeded", sa.Boolean()),
        *_text("detail"),
        *_seconds("seconds", "created_at_s"),
        sa.PrimaryKeyConstraint("id", name="pk_swaps"),
        _reference("swaps", "version_number", "versions.number"),
        sqlite_autoincrement=True,
    )
