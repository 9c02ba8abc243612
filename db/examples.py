"""Queries on imported examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data import vocabulary
from db.inserts import build_insert
from db.models import Example


def add_examples(session: Session, examples: Sequence[vocabulary.Example], source: str, source_digest: str) -> int:
    """Import examples from the file `source` with that sha256, and return how many were not there already."""
    rows = [
        {
            "sha256": _hash(example),
            "context": example.context,
            "response": example.response,
            "rating": example.rating,
            "source": source,
            "source_digest": source_digest,
        }
        for example in examples
    ]
    if not rows:
        return 0
    rows.sort(key=lambda row: str(row["sha256"]))  # two imports at once meet in one order: no deadlock
    statement = build_insert(session, Example).on_conflict_do_nothing().returning(Example.id)
    return len(session.scalars(statement, rows).all())


def count_examples(session: Session) -> int:
    """How many examples there are."""
    return session.scalar(select(func.count(Example.id))) or 0


def _hash(example: vocabulary.Example) -> str:
    parts = json.dumps([example.context, example.response, example.rating])
    return hashlib.sha256(parts.encode()).hexdigest()
