"""What clients were told, and whether the database says the same afterwards: the history that faults must not break."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Completion, Feedback, Promotion, Run, Version
from db.session import Database


@dataclass(frozen=True)
class SeenReply:
    """A reply that came whole: all its pieces by one version, and the headers said the same."""

    completion_id: str
    version: int
    digest: str
    text: str


@dataclass
class History:
    """What was acknowledged; threads add to it."""

    replies: dict[str, SeenReply] = field(default_factory=dict)
    ratings: dict[tuple[str, str], str] = field(default_factory=dict)  # by completion and rater
    run_ids: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)  # 503 with Retry-After, or a connection that broke
    surprises: list[str] = field(default_factory=list)  # any other failure: there must be none
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add_reply(self, reply: SeenReply) -> None:
        with self.lock:
            if reply.completion_id in self.replies:
                self.surprises.append(f"{reply.completion_id} was given to two replies")
            self.replies[reply.completion_id] = reply

    def add_rating(self, completion_id: str, rater: str, rating: str) -> None:
        with self.lock:
            self.ratings[completion_id, rater] = rating

    def refuse(self, what: str) -> None:
        with self.lock:
            self.refusals.append(what)

    def surprise(self, what: str) -> None:
        with self.lock:
            self.surprises.append(what)


def list_faults(history: History, database: Database) -> list[str]:
    """Every acknowledged write that is lost, doubled or another than was acknowledged; none if all is well."""
    with database.reading() as session:
        return [
            *history.surprises,
            *_list_reply_faults(history, session),
            *_list_rating_faults(history, session),
            *_list_run_faults(history, session),
            *_list_promotion_faults(session),
        ]


def _list_reply_faults(history: History, session: Session) -> list[str]:
    stored = {row.id: row for row in session.scalars(select(Completion))}
    digests = {version.number: version.digest for version in session.scalars(select(Version))}
    faults = []
    for reply in history.replies.values():
        row = stored.get(reply.completion_id)
        if row is None:
            faults.append(f"reply {reply.completion_id} is lost")
        elif (row.reply, row.version_number, row.digest) != (reply.text, reply.version, reply.digest):
            faults.append(f"reply {reply.completion_id} is stored as another than was sent")
        if digests.get(reply.version) != reply.digest:
            faults.append(f"reply {reply.completion_id} names version {reply.version} with the digest of another")
    return faults


def _list_rating_faults(history: History, session: Session) -> list[str]:
    stored: dict[tuple[str, str], list[str]] = {}
    for row in session.scalars(select(Feedback)):
        stored.setdefault((row.completion_id, row.rater), []).append(row.rating)
    return [
        f"rating {key} was {rating!r} and is {stored.get(key)}"
        for key, rating in history.ratings.items()
        if stored.get(key) != [rating]
    ]


def _list_run_faults(history: History, session: Session) -> list[str]:
    runs = {run.id: run for run in session.scalars(select(Run))}
    made: dict[str, int] = {}
    for version in session.scalars(select(Version).where(Version.run_id.is_not(None))):
        made[str(version.run_id)] = made.get(str(version.run_id), 0) + 1
    faults = [f"run {run_id} is lost" for run_id in history.run_ids if run_id not in runs]
    faults += [f"run {run.id} has no outcome: {run.status}" for run in runs.values() if run.status.is_active]
    faults += [
        f"run {run.id} ended without a reason" for run in runs.values() if run.id in history.run_ids and not run.reason
    ]
    faults += [f"run {run_id} made {count} versions" for run_id, count in made.items() if count > 1]
    return faults


def _list_promotion_faults(session: Session) -> list[str]:
    promotions = list(session.scalars(select(Promotion).order_by(Promotion.id)))
    faults = [
        f"promotion {after.id} says that it followed version {after.previous_version}, not {before.version_number}"
        for before, after in pairwise(promotions)
        if after.previous_version != before.version_number
    ]
    by_gate = [promotion.run_id for promotion in promotions if promotion.kind == "gate"]
    return faults + [f"run {run_id} was promoted twice" for run_id in set(by_gate) if by_gate.count(run_id) > 1]
