"""Rows that tests of the database begin with."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from sqlalchemy.orm import Session

from data.vocabulary import KeyRole, Message, PoolRow, RunStatus, SnapshotRow, Split
from db.completions import create_completion, ensure_conversation
from db.keys import create_key
from db.models import Completion, Version
from db.pool import list_pool_rows
from db.runs import claim_run, create_run, finish_run
from db.session import Database
from db.snapshots import save_snapshot_rows
from db.versions import register_version

Result = TypeVar("Result")


def add_client(session: Session) -> str:
    """A client's key; its id."""
    key, _ = create_key(session, KeyRole.CLIENT, "a client")
    return key.id


def add_completion(
    session: Session,
    key_id: str,
    conversation_id: str | None = None,
    reply: str = "I am here.",
    end_user: str = "ann",
    version_number: int | None = None,
) -> Completion:
    """A reply that was served to the client; by no version unless one is named, so none need be registered."""
    conversation_id = ensure_conversation(session, key_id, conversation_id, end_user)
    completion_id = create_completion(
        session,
        key_id=key_id,
        conversation_id=conversation_id,
        messages=[Message(role="user", content="I feel alone.")],
        reply=reply,
        version_number=version_number,
        digest=None,
        sampling={"temperature": 0.7},
        finish_reason="stop",
        prompt_tokens=5,
        reply_tokens=4,
        is_crisis=False,
        latency_s=0.1,
    )
    return session.get_one(Completion, completion_id)


def add_finished_run(session: Session) -> str:
    """A run that has succeeded; its id."""
    run = create_run(session, {}, "admin")
    claim_run(session, run.id, "worker", lease_s=60)
    finish_run(session, run.id, 1, RunStatus.SUCCEEDED, None)
    return run.id


def draw_snapshot(session: Session, run_id: str, pool: list[PoolRow] | None = None) -> None:
    """Record that the run draws on the pool as it is, or as it was, all of it for training."""
    rows = [SnapshotRow(row=row, split=Split.TRAIN) for row in pool or list_pool_rows(session)]
    save_snapshot_rows(session, run_id, {"digest": f"rows of {run_id}"}, rows)


def add_trained_version(session: Session) -> Version:
    """A version whose run drew on the whole pool."""
    run = create_run(session, {}, "admin")
    claim_run(session, run.id, "worker", lease_s=60)
    draw_snapshot(session, run.id)
    report = {"samples": [{"context": "I feel alone."}], "pool_rows": 3}
    version = register_version(session, run.id, f"weights of {run.id}", run.id, "tiny", report)
    finish_run(session, run.id, 1, RunStatus.SUCCEEDED, None, version.number)
    return version


def run_at_once(database: Database, count: int, action: Callable[[Session], Result]) -> list[Result]:
    """What `action` returns in each of `count` transactions, of as many threads, that begin together."""
    barrier = Barrier(count)

    def act(_: int) -> Result:
        barrier.wait()
        with database.transaction() as session:
            return action(session)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(act, range(count)))
