"""The tables: what clients do, what training does with it, and what goes live."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from sqlalchemy import JSON, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from data.vocabulary import (
    KeyRole,
    Message,
    Rating,
    ReviewVerdict,
    RowKind,
    RunStatus,
    ScheduleMode,
    Split,
    Verdict,
)
from db.base import Base, database_now_s, new_id

RaterKind = Literal["end_user", "reviewer", "simulated"]
Trigger = Literal["admin", "schedule", "command_line", "erasure", "exclusion"]
PromotionKind = Literal["initial", "gate", "manual", "rollback"]

_IS_ACTIVE = text("finished_at_s IS NULL")  # of a run


class ApiKey(Base):
    """A key of the HTTP interface; its secret is shown once and kept as a hash."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True, default=partial(new_id, "key"))
    role: Mapped[KeyRole]
    name: Mapped[str]
    prefix: Mapped[str]  # the first characters of the secret, to tell keys apart in a list
    secret_sha256: Mapped[str] = mapped_column(unique=True)
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())
    revoked_at_s: Mapped[float | None]


class Conversation(Base):
    """A conversation of a client; a client may name its own, so an id is unique for its key only."""

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "end_user"),)

    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    end_user: Mapped[str | None]
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())


class Completion(Base):
    """One reply that was served, with what wrote it."""

    __tablename__ = "completions"
    __table_args__ = (
        ForeignKeyConstraint(["key_id", "conversation_id"], ["conversations.key_id", "conversations.id"]),
        Index(None, "key_id", "conversation_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=partial(new_id, "chatcmpl"))
    key_id: Mapped[str]
    conversation_id: Mapped[str]
    messages: Mapped[list[Message]] = mapped_column(JSON)  # the turns before the reply
    reply: Mapped[str]
    # Both are empty when no model wrote the reply (crisis resources while the model is down).
    version_number: Mapped[int | None] = mapped_column(ForeignKey("versions.number"))
    digest: Mapped[str | None]
    sampling: Mapped[dict[str, Any]]
    finish_reason: Mapped[str]
    prompt_tokens: Mapped[int]
    reply_tokens: Mapped[int]
    is_crisis: Mapped[bool]
    latency_s: Mapped[float]
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())


class Feedback(Base):
    """What one rater says of one completion, as last said."""

    __tablename__ = "feedback"
    # Snapshots name rows by their id for ever, so SQLite must not give a deleted one to another row.
    __table_args__ = (
        UniqueConstraint("completion_id", "rater"),
        Index(None, "updated_at_s"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    completion_id: Mapped[str] = mapped_column(ForeignKey("completions.id"))
    rater: Mapped[str]
    rater_kind: Mapped[RaterKind]
    rating: Mapped[Rating]
    reasons: Mapped[list[str]]
    comment: Mapped[str | None]
    correction: Mapped[str | None]  # what the reply should have been
    scores: Mapped[dict[str, int]]  # empathy, relevance, coherence, safety: 1 to 5
    times_given: Mapped[int] = mapped_column(default=1)  # 1 until the rater thinks again
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())
    updated_at_s: Mapped[float] = mapped_column(default=database_now_s())


class FeedbackHistory(Base):
    """What a rater said before the present feedback took its place; it goes when the feedback goes."""

    __tablename__ = "feedback_history"

    id: Mapped[int] = mapped_column(primary_key=True)
    feedback_id: Mapped[int] = mapped_column(ForeignKey("feedback.id", ondelete="CASCADE"), index=True)
    rater_kind: Mapped[RaterKind]
    rating: Mapped[Rating]
    reasons: Mapped[list[str]]
    comment: Mapped[str | None]
    correction: Mapped[str | None]
    scores: Mapped[dict[str, int]]
    given_at_s: Mapped[float]
    replaced_at_s: Mapped[float] = mapped_column(default=database_now_s())


class Review(Base):
    """What a reviewer says of one completion, as last said; it is the reviewer's feedback too."""

    __tablename__ = "reviews"
    __table_args__ = (UniqueConstraint("completion_id", "reviewer"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    completion_id: Mapped[str] = mapped_column(ForeignKey("completions.id", ondelete="CASCADE"))
    reviewer: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    verdict: Mapped[ReviewVerdict]
    scores: Mapped[dict[str, int]]  # empathy, relevance, coherence, safety: 1 to 5
    rewrite: Mapped[str | None]  # what the reply should have been
    comment: Mapped[str | None]
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())
    updated_at_s: Mapped[float] = mapped_column(default=database_now_s())


class Example(Base):
    """An imported pair of a context and a response."""

    __tablename__ = "examples"
    __table_args__ = ({"sqlite_autoincrement": True},)  # see Feedback

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(unique=True)  # of context, response and rating
    context: Mapped[str]
    response: Mapped[str]
    rating: Mapped[Rating | None]
    source: Mapped[str]  # the file that it came from
    source_digest: Mapped[str]  # sha256 of that file
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())


class Schedule(Base):
    """When runs start by themselves, and what becomes of what passes; one row, once an admin has set it."""

    __tablename__ = "schedule"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)  # always 1
    interval_s: Mapped[float]  # 0: only when asked
    min_ratings: Mapped[int]  # new ones that a scheduled run waits for
    mode: Mapped[ScheduleMode]
    updated_at_s: Mapped[float] = mapped_column(default=database_now_s())
    updated_by: Mapped[str]  # id of the key


class Run(Base):
    """One attempt to improve; it is active until `finished_at_s` is set."""

    __tablename__ = "runs"
    __table_args__ = (
        # At most one active run: the indexed expression is true for each active run, and may be so only once.
        Index(
            "uq_runs_one_active",
            text("(finished_at_s IS NULL)"),
            unique=True,
            sqlite_where=_IS_ACTIVE,
            postgresql_where=_IS_ACTIVE,
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=partial(new_id, "run"))
    status: Mapped[RunStatus] = mapped_column(default=RunStatus.QUEUED)
    recipe: Mapped[dict[str, Any]]
    trigger: Mapped[Trigger]
    window_key: Mapped[str | None] = mapped_column(unique=True)  # one scheduled run a window
    attempt: Mapped[int] = mapped_column(default=0)  # claims so far; the fencing token
    stops: Mapped[int] = mapped_column(default=0)  # those that ended as their worker was stopped, and do not count
    lease_owner: Mapped[str | None]
    lease_until_s: Mapped[float | None]
    nudged_at_s: Mapped[float | None]  # when a queue message was last sent
    progress: Mapped[dict[str, Any] | None]  # the trainer's last progress event
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str | None]  # why it ended as it did
    # Not foreign keys: the rows that they name point back here.
    snapshot_id: Mapped[str | None]
    version_number: Mapped[int | None]
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())
    started_at_s: Mapped[float | None]  # the first claim
    finished_at_s: Mapped[float | None]


class Snapshot(Base):
    """The frozen set of one run; the files are in its run folder, the manifest is here too."""

    __tablename__ = "snapshots"

    id: Mapped[str] = mapped_column(primary_key=True, default=partial(new_id, "snapshot"))
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), unique=True)
    digest: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())


class SnapshotRow(Base):
    """That a row of the pool was in a snapshot; no foreign key leads to that row, which may be erased."""

    __tablename__ = "snapshot_rows"

    snapshot_id: Mapped[str] = mapped_column(ForeignKey("snapshots.id"), primary_key=True)
    row_id: Mapped[str] = mapped_column(primary_key=True)
    split: Mapped[Split]
    kind: Mapped[RowKind]
    example_id: Mapped[int | None] = mapped_column(index=True)
    feedback_id: Mapped[int | None] = mapped_column(index=True)
    completion_id: Mapped[str | None] = mapped_column(index=True)


class Version(Base):
    """A registered artifact; number 0 is the base model."""

    __tablename__ = "versions"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"), unique=True)
    digest: Mapped[str]
    folder: Mapped[str]  # relative to the artifacts' root, so the root may move
    base_model: Mapped[str]
    report: Mapped[dict[str, Any] | None]
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())


class Evaluation(Base):
    """One consultation of the hold-out; it counts from its start, so a crash does not make it free."""

    __tablename__ = "evaluations"

    id: Mapped[str] = mapped_column(primary_key=True, default=partial(new_id, "evaluation"))
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), unique=True)
    candidate_digest: Mapped[str]
    production_version: Mapped[int] = mapped_column(ForeignKey("versions.number"))
    consultation: Mapped[int] = mapped_column(unique=True)  # 1, 2, 3 … over the life of the hold-out
    decision: Mapped[dict[str, Any] | None]
    verdict: Mapped[Verdict | None]
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())
    finished_at_s: Mapped[float | None]


class HoldoutEpoch(Base):
    """That a new hold-out was drawn, by another salt; before the first such row the built-in salt holds."""

    __tablename__ = "holdout_epochs"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # from 2: the first has no row
    salt: Mapped[str]
    consultations_before: Mapped[int]  # the number of the last consultation of the hold-out before
    promotions_before: Mapped[int]  # the id of the last promotion then
    reason: Mapped[str]
    opened_by: Mapped[str]
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())


class Promotion(Base):
    """One move of the production pointer; the newest row is the pointer. Rows are only ever added."""

    __tablename__ = "promotions"

    # Given by `db.promotions`: of two promotions at once, the second must find its id taken.
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version_number: Mapped[int] = mapped_column(ForeignKey("versions.number"))
    previous_version: Mapped[int | None] = mapped_column(ForeignKey("versions.number"))
    kind: Mapped[PromotionKind]
    reason: Mapped[str]
    actor: Mapped[str]
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())


class Swap(Base):
    """One attempt of a server process to change the version that it serves."""

    __tablename__ = "swaps"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    process: Mapped[str]
    version_number: Mapped[int] = mapped_column(ForeignKey("versions.number"))
    succeeded: Mapped[bool]
    detail: Mapped[str]
    seconds: Mapped[float]
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())


class Erasure(Base):
    """That an end user was erased: the receipt, and what is left to do until `finished_at_s` is set."""

    __tablename__ = "erasures"

    id: Mapped[str] = mapped_column(primary_key=True, default=partial(new_id, "erasure"))
    salt: Mapped[str]
    end_user_sha256: Mapped[str]  # of salt and name: it tells the name again, and does not give it away
    counts: Mapped[dict[str, int]]  # deleted rows by table
    marked_versions: Mapped[list[int]] = mapped_column(JSON)  # whose snapshots held some of those rows
    run_ids: Mapped[list[str]]  # whose folders may hold some of them
    interrupted_run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))  # it was drawing on them
    retrain_run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))  # the first run without them
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())
    finished_at_s: Mapped[float | None]  # when their bytes had left the files and the database


class RaterExclusion(Base):
    """That a rater's rows are left out of snapshots until `admitted_at_s` is set: the audit row, and the receipt."""

    __tablename__ = "rater_exclusions"
    __table_args__ = (
        Index(
            "uq_rater_exclusions_in_force",
            "rater",
            unique=True,
            sqlite_where=text("admitted_at_s IS NULL"),
            postgresql_where=text("admitted_at_s IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=partial(new_id, "exclusion"))
    rater: Mapped[str]  # the name, or its pseudonym once the rater was erased: see db/pseudonyms.py
    reason: Mapped[str]  # empty once the rater was erased
    actor: Mapped[str]
    marked_versions: Mapped[list[int]] = mapped_column(JSON)  # whose snapshots held rows of the rater
    interrupted_run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))  # it was drawing on them
    retrain_run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))  # the first run without them
    created_at_s: Mapped[float] = mapped_column(default=database_now_s())
    admitted_at_s: Mapped[float | None]
    admitted_by: Mapped[str | None]
